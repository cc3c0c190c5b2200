"""The case that a worker has in flight, in memory that its parent reads after a crash."""

from __future__ import annotations

import json
import mmap
import struct
import time
from pathlib import Path
from typing import Any

_SIZE = 1 << 20
_HEADER = struct.Struct("<dqqqq")


class InFlight:
    """A file mapped by both processes: when the call began, chunk, example, call and the case as JSON."""

    def __init__(self, path: Path, create: bool) -> None:
        if create:
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), _SIZE)
        self.chunk = self.example = 0

    def case(self, chunk: int, example: int, case: dict[str, Any]) -> None:
        text = json.dumps(case).encode()[: _SIZE - _HEADER.size]
        self.chunk, self.example = chunk, example
        self.memory[_HEADER.size : _HEADER.size + len(text)] = text
        _HEADER.pack_into(self.memory, 0, time.time(), chunk, example, 0, len(text))

    def call(self, index: int) -> None:
        struct.pack_into("<d", self.memory, 0, time.time())
        struct.pack_into("<q", self.memory, 24, index)

    def idle(self) -> None:
        """No call is in flight."""
        struct.pack_into("<d", self.memory, 0, 0.0)

    def age(self) -> float:
        """Seconds since the call in flight began."""
        (begun,) = struct.unpack_from("<d", self.memory, 0)
        return time.time() - begun if begun else 0.0

    def read(self) -> tuple[int, int, int, dict[str, Any] | None]:
        """(chunk, example, call, case) in flight."""
        begun, chunk, example, call, length = _HEADER.unpack_from(self.memory, 0)
        text = self.memory[_HEADER.size : _HEADER.size + length] if begun else b""
        return chunk, example, call, json.loads(text) if text else None
