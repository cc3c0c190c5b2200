"""Ours in a process of its own that may use fewer instructions, timed on demand.

The instruction set is chosen once a process, so AVX2 against AVX-512 takes two; the race of the first asks the
second for a sample in its turn. One line of JSON each way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from .clock import clock
from .harness import Case, Contestant, admit
from .oracle import Coefficients, Oracle
from .records import OURS
from .workloads import load


class Worker:
    """The other process; `start` gives the contestant that it times."""

    def __init__(self, isa: str, name: str, width: int, mode: str, dtype: torch.dtype, seed: int) -> None:
        job = {"name": name, "width": width, "mode": mode, "dtype": str(dtype)[6:], "seed": seed}
        job["threads"] = torch.get_num_threads()
        self._dtype = dtype
        root = Path(__file__).parents[1]
        paths = os.pathsep.join([str(root), str(root / "python"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(job)],
            env=os.environ | {"SBP_CPU_ISA": isa, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> Contestant:
        """Wait until its result is checked."""
        found = self._answer()
        return Contestant(
            OURS, self._dtype, backend="native", isa=found["isa"], seconds_per_call=found["seconds"],
            extra_memory_bytes=found["bytes"], remote=self._sample,
        )  # fmt: skip

    def _sample(self, inner: int, warm: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{inner} {warm}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self):
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with SBP_CPU_ISA ended with code {self._process.wait()}")
        return json.loads(line)

    def stop(self) -> None:
        """End of input ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def cpu_isa() -> str:
    """What the CPU kernels of this process use; empty without them."""
    try:
        return torch.ops.sbp.cpu_isa()
    except (AttributeError, RuntimeError):
        return ""


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    graph, dtype = load(job["name"], job["seed"]), getattr(torch, job["dtype"])
    oracle = Oracle(graph, job["width"], dtype, Coefficients(), job["seed"])
    ours = admit(OURS, Case(graph, job["width"], job["mode"]), oracle, dtype)
    assert ours.call is not None
    print(
        json.dumps({"isa": cpu_isa(), "seconds": ours.seconds_per_call, "bytes": ours.extra_memory_bytes}), flush=True
    )
    for line in sys.stdin:
        inner, warm = map(int, line.split())
        print(clock(ours.call, inner, torch.device("cpu"), warm), flush=True)


if __name__ == "__main__":
    main()
