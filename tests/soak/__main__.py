"""`python -m tests.soak`: many calls and many graphs; resident memory must stay flat. Exit status 1 where it grows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from .calls import SCENARIOS
from .memory import soak


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls on one graph")
    parser.add_argument("--graphs", type=int, default=20_000, help="graphs built and dropped, in each scenario")
    parser.add_argument("--only", choices=list(SCENARIOS), help="one scenario")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    flat = True
    for name, (make, count) in SCENARIOS.items():
        if args.only in (None, name):
            reading = soak(name, make(), args.calls if count == "calls" else args.graphs)
            print(reading.line(), flush=True)
            flat = flat and reading.flat
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
