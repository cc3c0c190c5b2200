"""Time our method in a separate process with another instruction set.

A process chooses its instruction set once, so comparing AVX2 with AVX-512 takes two processes. The interleaved timing
of the first requests each sample from the second; requests and answers are one line of text each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from ..cases.modes import OURS
from ..cases.oracle import Coefficients, Oracle
from ..cases.workloads import load
from .candidate import Candidate, Case
from .check import check_candidate
from .clock import clock


class Worker:
    """The other process; `start` returns the candidate that it times."""

    def __init__(self, isa: str, name: str, width: int, mode: str, dtype: torch.dtype, seed: int) -> None:
        job = {"name": name, "width": width, "mode": mode, "dtype": str(dtype)[6:], "seed": seed}
        job["threads"] = torch.get_num_threads()
        self._dtype = dtype
        root = Path(__file__).parents[2]
        paths = os.pathsep.join([str(root), str(root / "python"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.timing.isa_worker", json.dumps(job)],
            env=os.environ | {"SBP_CPU_ISA": isa, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> Candidate:
        """Wait until the process has checked the result, and return the candidate."""
        found = self._answer()
        return Candidate(
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
        """Close the input, which ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def cpu_isa() -> str:
    """Return the instruction set of the CPU kernels in this process; empty without them."""
    try:
        return torch.ops.sbp.cpu_isa()
    except (AttributeError, RuntimeError):
        return ""


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    graph, dtype = load(job["name"], job["seed"]), getattr(torch, job["dtype"])
    oracle = Oracle(graph, job["width"], dtype, Coefficients(), job["seed"])
    ours = check_candidate(OURS, Case(graph, job["width"], job["mode"]), oracle, dtype)
    assert ours.call is not None
    print(
        json.dumps({"isa": cpu_isa(), "seconds": ours.seconds_per_call, "bytes": ours.extra_memory_bytes}), flush=True
    )
    for line in sys.stdin:
        inner, warm = map(int, line.split())
        print(clock(ours.call, inner, torch.device("cpu"), warm), flush=True)


if __name__ == "__main__":
    main()
