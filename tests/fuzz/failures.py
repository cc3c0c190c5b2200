"""Failures: their files, which `--replay` runs again, and how often each kind came up."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

# Files of one kind of failure; further ones are counted.
FILES = 25


class Failures:
    """The folder of failing cases, and the count of each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count: Counter[tuple[str, str]] = Counter()
        self.example: dict[tuple[str, str], str] = {}

    def is_new(self, failure: dict[str, Any]) -> bool:
        return self.key(failure) not in self.count

    @staticmethod
    def key(failure: dict[str, Any]) -> tuple[str, str]:
        return failure["kind"], failure["title"]

    def add(self, failure: dict[str, Any]) -> None:
        """Count the failure and write its case to a file."""
        key = self.key(failure)
        self.count[key] += 1
        self.example.setdefault(key, failure["detail"].splitlines()[0] if failure["detail"] else "")
        if self.count[key] > FILES:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(json.dumps(failure["case"], sort_keys=True).encode()).hexdigest()[:10]
        slug = "".join(c if c.isalnum() else "-" for c in f"{key[0]} {key[1]}")[:80].strip("-")
        (self.folder / f"{slug}.{name}.json").write_text(json.dumps(failure, indent=1) + "\n")

    def replace(self, old: dict[str, Any], shrunk: dict[str, Any]) -> None:
        """Write the shrunk case of a failure that was counted."""
        self.count[self.key(old)] -= 1
        self.add(shrunk)

    def report(self) -> list[str]:
        """A line for each kind of failure, most frequent first."""
        lines = []
        for key, count in self.count.most_common():
            lines.append(f"{count:7d}  {key[0]}: {key[1]}")
            lines.append(f"         {self.example[key][:400]}")
        return lines


def load(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The failures in a folder, or the one in a file."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [(file, json.loads(file.read_text())) for file in files]
