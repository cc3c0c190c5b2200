"""python -m benchmarks.instructions: compare the instruction counts of the CPU kernels with the recorded ones.

Callgrind's counts are reproducible even on a busy machine, so a few percent more are a regression. Valgrind does not
support AVX-512, so AVX2 and the baseline are counted. `--write` records the counts of this binary. Counts are valid for
one compiler, and those outside the kernels (Python and torch, per call) for one torch version.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .reporting import result_files

ISAS = ("avx2", "baseline")
CALLS = 5
OUTSIDE, OUR_CALLS = "Python and torch, per call", "around the kernels, per call"
TYPES = {r"Bf16": "bfloat16 kernels, per round", r"<float|::float": "float32 kernels, per round"}
# A larger ratio to the record is a regression; Python's share varies more.
ALLOWED, ALLOWED_OUTSIDE = 1.03, 1.15
RECORD = result_files.RESULTS / "instructions.json"

SETUP = """
import os
os.environ["SBP_CPU_ISA"] = {isa!r}
import torch
import sbp_kernels as sbp
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
edges = torch.randint(500, (2, 4000), generator=generator)
hub = torch.stack([torch.arange(500), torch.zeros(500, dtype=torch.int64)])
plain = sbp.SignedGraph.from_edge_index(torch.cat([edges, hub], 1), edges.flip(0), 500).normalize("sym").prepare()
labels = torch.arange(500) % 7
blocks = sbp.SignedGraph(plain.pos, sbp.ClassBlock.from_labels(labels, labels < 5))
inputs = [torch.ones(500, d).to(t) for t in (torch.float32, torch.bfloat16) for d in (64, 128)]
def calls():
    for x in inputs:
        sbp.signed_propagate(x, plain, beta=0.5, lam=0.5)
        sbp.signed_propagate(x, blocks, beta=0.5, lam=0.5)
        sbp.signed_pair(x, plain)
        sbp.signed_propagate(x, plain, beta=0.5, lam=0.5, num_steps=3, layer_norm=True)
calls()
"""
CALLS_A_RUN = 16


def count(isa: str) -> dict[str, int]:
    """Return the instructions of the kernels per type and round of calls, and of everything else per call."""
    from torch.utils.benchmark import Timer

    # The process under valgrind inherits the environment: fixed hashes make dict lookups reproducible.
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    timer = Timer("calls()", SETUP.format(isa=isa))
    counts = timer.collect_callgrind(number=CALLS, collect_baseline=False).stats(inclusive=False)
    return by_type([(function, int(n)) for n, function in counts])


def by_type(counts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Sum callgrind's counts by the type of x, per round; counts outside the kernels are per call.

    The type is part of every function's name, so the sums do not depend on inlining.
    """
    found = dict.fromkeys((*TYPES.values(), OUR_CALLS, OUTSIDE), 0)
    for function, total in counts:
        inside = re.match(r"(.*) \[.*_C[^/]*\.so\]$", function)
        name = OUTSIDE
        if inside:
            # The first template argument is the type of x; float is also the accumulation type of bfloat16.
            name = next((label for key, label in TYPES.items() if re.search(key, inside[1])), OUR_CALLS)
        found[name] += total
    calls = {OUTSIDE: CALLS_A_RUN, OUR_CALLS: CALLS_A_RUN}
    return {name: n // CALLS // calls.get(name, 1) for name, n in found.items()}


def compiler() -> str:
    """Return the compiler named in our binary."""
    from sbp_kernels.backends import _extension

    binary = next(Path(_extension.__file__).parents[1].glob("_C*.so"), None)
    names = re.findall(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", binary.read_bytes()) if binary else []
    return names[0].decode() if names else "unknown"


def compare(now: Mapping[str, int], then: Mapping[str, int], same_torch: bool) -> list[str]:
    """Return one line for each count that rose by more than allowed or has no record."""
    lines = []
    for name, n in now.items():
        if name == OUTSIDE and not same_torch:
            continue
        allowed = ALLOWED_OUTSIDE if name == OUTSIDE else ALLOWED
        if name not in then:
            lines.append(f"{name}: {n} instructions and no record; create one with --write")
        elif n > allowed * then[name]:
            lines.append(f"{name}: {n} instructions, {n / then[name] - 1:+.1%} over {then[name]}")
    return lines


def unavailable() -> str:
    """Return why instructions cannot be counted here; empty if they can."""
    from .timing.isa_worker import cpu_isa

    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    return "" if cpu_isa() else "the CPU kernels are not built"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--isa", choices=ISAS, action="append", help="default: all")
    parser.add_argument("--write", action="store_true", help="record the counts instead of comparing")
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args(argv)
    import torch

    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    record = json.loads(args.record.read_text()) if args.record.exists() else {}
    built = {"torch": torch.__version__, "compiler": compiler()}
    failed = False
    for isa in args.isa or ISAS:
        then = record.get(isa, {})
        if not args.write and then.get("compiler") != built["compiler"]:
            print(f"{isa}: skipped: built by {built['compiler']}, the record by {then.get('compiler', 'nothing yet')}")
            continue
        now = count(isa)
        record[isa] = {**built, "counts": now}
        lines = [] if args.write else compare(now, then["counts"], then["torch"] == built["torch"])
        failed = failed or bool(lines)
        print(
            "\n".join(lines) or f"{isa}: {len(now)} counts {'written' if args.write else 'match the record'}",
            flush=True,
        )
    if args.write:
        args.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
