"""The shape of the project: dependencies run one way, files and functions stay short."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted(p for d in ("sbp_kernels", "python", "benchmarks") for p in (ROOT / d).rglob("*.py"))
MODULES = sorted(p for d in (".", "pyg", "nn", "nn/signed_directed") for p in (ROOT / "sbp_kernels" / d).glob("*.py"))
KERNELS = sorted(p for s in ("*.h", "*.cpp", "*.cuh", "*.cu") for p in (ROOT / "csrc").rglob(s))
# What a package may import of the others.
ALLOWED = {
    "sbp_kernels": set(),
    "sbp": {"sbp_kernels"},
    "examples": {"sbp_kernels", "sbp"},
    "benchmarks": {"sbp_kernels", "sbp"},
}
LAYERS = {
    name: rank
    for rank, names in enumerate(
        [
            {"_fakes", "_library", "layer_norm", "term", "transforms"},
            {"checks", "pattern", "weight"},
            {"degrees", "low_rank"},
            {"sparse_matrix"},
            {"csr", "implicit", "similarity"},
            {"merged"},
            {"graph"},
            {"backends", "call"},
            {"composed"},
            {"autograd"},
            {"steps"},
            {"propagate", "config"},
            {"pyg"},
            {"nn"},
        ]
    )
    for name in names
}

# The folders of the benchmarks; each imports only folders of a lower rank, and commands import all of them.
BENCHMARK_FOLDERS = {"cases": 0, "competitors": 1, "reporting": 1, "timing": 2}
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, *, types: bool = False) -> set[str]:
    """Absolute names of the project's own modules that a file imports when it runs, or also for types."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test) and not types
        for n in ast.walk(i)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = path.relative_to(ROOT).with_suffix("").parts
            base = base[1:] if base[0] == "python" else base
            prefix = list(base[: len(base) - node.level]) if node.level else []
            found.add(".".join([*prefix, node.module or ""]).strip("."))
            found |= {".".join([*prefix, *([node.module] if node.module else []), a.name]) for a in node.names}
    return found


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_packages_depend_one_way(path):
    package = next(part for part in path.relative_to(ROOT).parts if part != "python")
    for other in set(ALLOWED) - {package} - ALLOWED[package]:
        bad = {i for i in imports(path) if i == other or i.startswith(other + ".")}
        assert not bad, f"{name_of(path)} must not import {bad}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_depend_one_way(path):
    # The modules of a leaf package stand where the package does.
    name = path.relative_to(ROOT / "sbp_kernels").with_suffix("").parts[0]
    if name == "__init__":
        return
    assert name in LAYERS, f"{name_of(path)} has no place in LAYERS"
    rank = LAYERS[name]
    for imported in imports(path):
        parts = imported.split(".")
        if parts[0] == "sbp_kernels" and len(parts) > 1 and parts[1] in LAYERS:
            allowed = LAYERS[parts[1]] <= rank
            assert allowed, f"{name_of(path)} must not import {imported}: it stands above it"


@pytest.mark.parametrize("path", BENCHMARKS, ids=name_of)
def test_benchmark_folders_depend_one_way(path):
    parts = path.relative_to(ROOT / "benchmarks").parts
    if len(parts) == 1 or parts[0] == "gpu":
        return
    rank = BENCHMARK_FOLDERS[parts[0]]
    for imported in imports(path, types=True):
        names = imported.split(".")
        if names[0] == "benchmarks" and len(names) > 1 and names[1] != parts[0]:
            allowed = names[1] in BENCHMARK_FOLDERS and BENCHMARK_FOLDERS[names[1]] < rank
            assert allowed, f"{name_of(path)} must not import {imported}"


def test_benchmarks_have_no_import_cycle():
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in BENCHMARKS}
    graph = {
        name: {i for i in imports(path, types=True) & modules.keys() if i != name} for name, path in modules.items()
    }
    # `from .package import module` also runs the package, but a package is no cycle with its own modules.
    graph = {name: {i for i in found if not name.startswith(i + ".")} for name, found in graph.items()}
    with contextlib.suppress(StopIteration):
        while True:
            del graph[next(name for name, found in graph.items() if not found & graph.keys())]
    assert not graph, f"import cycle among {sorted(graph)}"


def test_benchmark_folders_stay_small():
    for folder in {p.parent for p in BENCHMARKS}:
        count = sum(p.parent == folder for p in BENCHMARKS)
        assert count <= 14, f"{name_of(folder)} holds {count} files"


@pytest.mark.parametrize("path", sorted((ROOT / "sbp_kernels/backends").rglob("*.py")), ids=name_of)
def test_backends_import_nothing_of_the_package(path):
    if path.name == "__init__.py" and path.parent.name == "backends":
        return
    own = {"sbp_kernels._library", "sbp_kernels.backends.tiles"}
    inside = "sbp_kernels.backends." + path.parent.name if path.parent.name != "backends" else "nowhere"
    bad = {
        i
        for i in imports(path)
        if i.startswith("sbp_kernels")
        and not i.startswith((*own, inside))
        and i not in ("sbp_kernels", "sbp_kernels.backends")
    }
    assert not bad, f"{name_of(path)} must not import {bad}"


@pytest.mark.parametrize("path", PYTHON + KERNELS, ids=name_of)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    limit = 250 if path.suffix == ".py" else 300
    assert len(text.splitlines()) <= limit, f"{name_of(path)} has {len(text.splitlines())} lines"
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = ast.get_docstring(node, clean=False)
                length = (node.end_lineno or 0) - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
                assert length <= 42, f"{name_of(path)}: {node.name} has {length} lines"


def test_top_level_is_what_the_design_says():
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.splitlines()}
    folders = {"sbp_kernels", "csrc", "python", "benchmarks", "tests", ".ci"}
    files = {"setup.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"}
    assert top <= folders | files | {".gitignore", "BENCHMARKS.md", "MANIFEST.in"}
