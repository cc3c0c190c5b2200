"""Compile every kernel variant for several GPU architectures, and write a table of registers, spills and load widths.

Run as `python -m tests.triton.ahead_of_time [--out TABLE.csv] [--only TEXT ...]`, never under the interpreter.
The variants are those that calls of the backend launch: calls run on CPU tensors, and the launches are recorded.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sbp_kernels import CSR
from sbp_kernels.adjacency.class_block import GroupSegments
from sbp_kernels.backends.interface import KernelOperand
from sbp_kernels.backends.triton import degree_bins, launch
from sbp_kernels.backends.triton import ops as backend

TABLE = Path(__file__).parents[2] / "benchmarks/results/triton-aot/table.csv"
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
COLUMNS = (
    "kernel", "variant", "dtype", "target", "triton", "num_warps", "registers", "shared_bytes", "spills",
    "wide_loads", "atomics", "tensor_cores",
)  # fmt: skip
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TYPE_NAMES = {
    torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.int32: "i32", torch.int64: "i64",
}  # fmt: skip


class Variant(NamedTuple):
    """One kernel as one call launches it."""

    name: str
    dtype: torch.dtype
    kernel: Any
    args: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.kernel.__name__, repr(describe(self)) + repr(options(self))


def graph(num_nodes: int = 40, hub: int = 30) -> CSR:
    """Light rows, heavier rows and one hub (under the limits below)."""
    degree = torch.full((num_nodes,), 2)
    degree[1:4], degree[0] = 6, hub
    target = torch.repeat_interleave(torch.arange(num_nodes), degree)
    return CSR.from_edge_index(torch.stack([torch.arange(target.numel()) % num_nodes, target]), num_nodes=num_nodes)


def calls(dtype: torch.dtype) -> Iterator[tuple[str, Any]]:
    """Calls that between them launch every kernel with every epilogue and every kind of adjacency."""
    csr = graph()
    n, wide = csr.num_rows, torch.float64 if dtype == torch.float64 else torch.float32
    ones = torch.ones(csr.num_edges, dtype=wide)
    bare = KernelOperand(csr.rowptr, csr.col)
    scaled = bare._replace(row_scale=torch.ones(n, dtype=wide), col_scale=torch.ones(n, dtype=wide))
    weighted = scaled._replace(col=csr.col.long(), weight=ones)
    coef = torch.ones(3, dtype=wide)
    for width in (32, 64, 128, 256, 500, 19):
        x = torch.zeros(n, width, dtype=dtype)
        yield f"spmm d={width}", lambda x=x: spmm(x, scaled, scaled)
    x = torch.zeros(n, 128, dtype=dtype)
    labels = KernelOperand(table=torch.zeros(5, 128, dtype=wide), group=torch.zeros(n, dtype=torch.int64))
    dense = KernelOperand(table=torch.zeros(n, 128, dtype=wide))
    yield "spmm unscaled d=128", lambda: spmm(x, bare, bare)
    yield "spmm weighted int64 d=128", lambda: spmm(x, weighted, weighted)
    yield "spmm labels d=128", lambda: spmm(x, scaled, labels)
    yield "spmm features d=128", lambda: spmm(x, scaled, dense)
    yield "spmm learnable x_neg d=128", lambda: spmm(x, weighted, weighted, coef=coef, x_neg=x)
    for width in (64, 128, 512, 1024, 1433):
        xw = torch.zeros(n, width, dtype=dtype)
        yield f"norm d={width}", lambda x=xw: spmm(x, scaled, scaled, eps=1e-5)
    yield "pair d=128", lambda: backend.signed_pair(x, scaled, scaled, n)
    yield "dot d=128", lambda: backend.signed_dot(x, x, x, scaled, scaled)
    yield "edge_dot d=128", lambda: backend.edge_dot(x, x, scaled)
    groups = GroupSegments(torch.arange(n) % 3, 3)
    parts = (groups.order, groups.segptr, groups.group_segptr)
    for width in (64, 128):
        xg = torch.zeros(n, width, dtype=dtype)
        yield f"group_sum d={width}", lambda x=xg: backend.group_sum(x, *parts)
    yield from similarity_calls(dtype, wide, n)


def similarity_calls(dtype: torch.dtype, wide: torch.dtype, n: int) -> Iterator[tuple[str, Any]]:
    scale, lse = torch.ones((), dtype=torch.float64), torch.zeros(n, dtype=wide)
    shapes = ((64, 64, dtype), (128, 128, dtype), (1433, 128, dtype), (128, 256, dtype), (128, 128, wide))
    for depth, width, x0_dtype in shapes:
        x0, x = torch.zeros(n, depth, dtype=x0_dtype), torch.zeros(n, width, dtype=dtype)
        name = f"x0 {TYPE_NAMES[x0_dtype]} width={depth} d={width}"
        if width == 128 or depth == 64:
            yield f"lse {name}", lambda x0=x0: backend.similarity_lse(x0, scale)
        yield f"product {name}", lambda x0=x0, x=x: backend.similarity(x0, x, lse, scale, False)
        yield f"transposed {name}", lambda x0=x0, x=x: backend.similarity(x0, x, lse, scale, True)
        yield f"gradient {name}", lambda x0=x0, x=x: backend.similarity_grad(x0, x, x, lse, scale)


def spmm(x: torch.Tensor, pos: KernelOperand, neg: KernelOperand, **more: Any) -> None:
    rest = {"coef": None, "x_neg": None, "eps": None} | more
    backend.signed_spmm(x, rest["x_neg"], x, pos, neg, (0.5, 0.3, -0.2), rest["coef"], x.size(0), rest["eps"])


def variants(dtype: torch.dtype, on_amd: bool) -> list[Variant]:
    """Run the calls with launches recorded; each distinct kernel once."""
    found: dict[tuple[str, str], Variant] = {}
    run, limits = launch.run, degree_bins.LIMITS
    launch.ON_AMD = on_amd
    degree_bins.LIMITS = degree_bins.Limits(light=4, light_min_rows=1, hub=16, chunk=8)
    try:
        for name, call in calls(dtype):

            def record(kernel: Any, grid: Any, device: Any, args: dict[str, Any], name: str = name) -> None:
                # Only the bin of light rows has many rows.
                rows = "chunks" if args.get("SPLIT") else "light" if args.get("num_slots", 0) > 10 else ""
                rows = "segments" if "order" in args and args["order"] is None else rows
                variant = Variant(f"{name} {rows}".strip(), dtype, kernel, args)
                found.setdefault(variant.key, variant)

            launch.run = record
            call()
    finally:
        launch.run, degree_bins.LIMITS = run, limits
    return list(found.values())


def describe(variant: Variant) -> tuple[dict[str, str], dict[str, Any], dict[Any, Any]]:
    """(types, constants, alignments) as the compiler takes them."""
    types, constants, aligned = {}, {}, {}
    for index, param in enumerate(variant.kernel.params):
        value = variant.args[param.name]
        if param.is_constexpr or value is None:
            types[param.name], constants[param.name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            types[param.name] = "*" + TYPE_NAMES[value.dtype]
            aligned[(index,)] = [["tt.divisibility", 16]]
        else:
            types[param.name] = "fp64" if isinstance(value, float) else "i32"
    return types, constants, aligned


def options(variant: Variant) -> dict[str, int]:
    given = {name: variant.args[name] for name in ("num_warps", "num_stages") if name in variant.args}
    # As `launch.run` sets it.
    return given | {"enable_fp_fusion": True}


def compile_for(variant: Variant, target: str) -> dict[str, Any]:
    """One row of the table."""
    types, constants, aligned = describe(variant)
    source = ASTSource(fn=variant.kernel, signature=types, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=TARGETS[target], options=options(variant))
    found = amd(compiled.asm) if target.startswith("gfx") else nvidia(compiled.asm)
    return {
        "kernel": variant.kernel.__name__,
        "variant": variant.name,
        "dtype": TYPE_NAMES[variant.dtype],
        "target": target,
        "triton": triton.__version__,
        "num_warps": compiled.metadata.num_warps,
        "shared_bytes": compiled.metadata.shared,
    } | found


def nvidia(asm: dict[str, Any]) -> dict[str, Any]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    ptx = asm["ptx"]
    wide = r"ld\.global[.\w:]*\.v(?:4\.[bfu]32|2\.[bfu]64)|cp\.async\.cg\.shared\.global"
    core = [name for name in ("tcgen05.mma", "wgmma.mma_async", "mma.sync") if name in ptx]
    return {
        "registers": int(re.search(r"REG:(\d+)", text)[1]),  # type: ignore[index]
        # These kernels use the stack for spilled registers only.
        "spills": int(re.search(r"STACK:(\d+)", text)[1]),  # type: ignore[index]
        "wide_loads": len(re.findall(wide, ptx)),
        "atomics": len(re.findall(r"\b(?:atom|red)\.", ptx)),
        "tensor_cores": core[0] if core else "",
    }


def amd(asm: dict[str, Any]) -> dict[str, Any]:
    text = asm["amdgcn"]
    number = lambda name: int(re.search(rf"\.{name}:\s+(\d+)", text)[1])  # type: ignore[index]  # noqa: E731
    return {
        "registers": number("vgpr_count"),
        "spills": number("vgpr_spill_count") + number("sgpr_spill_count"),
        "wide_loads": len(re.findall(r"(?:global|buffer)_load_dwordx4", text)),
        "atomics": len(re.findall(r"_atomic_", text)),
        "tensor_cores": "v_mfma" if "v_mfma" in text else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--only", nargs="*", default=[""], help="variants whose kernel and name contain one of these")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--dtypes", nargs="*", default=[TYPE_NAMES[t] for t in DTYPES])
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # A cached kernel would hide that it no longer compiles.
    with tempfile.TemporaryDirectory() as fresh, args.out.open("w", newline="") as file:
        os.environ["TRITON_CACHE_DIR"] = fresh
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for dtype in (t for t in TYPE_NAMES if TYPE_NAMES[t] in args.dtypes):
            for target in args.targets:
                for variant in variants(dtype, on_amd=target.startswith("gfx")):
                    if any(text in f"{variant.kernel.__name__} {variant.name}" for text in args.only):
                        writer.writerow(compile_for(variant, target))
                        file.flush()
    print(backend.status())


if __name__ == "__main__":
    main()
