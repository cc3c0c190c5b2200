"""The shape of the project: dependencies run one way, files, functions and folders stay small."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted(p for d in ("sbp_kernels", "python", "benchmarks", "build_tools") for p in (ROOT / d).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
KERNELS = sorted(p for s in ("*.h", "*.cpp", "*.cuh", "*.cu") for p in (ROOT / "csrc").rglob(s))
# What a package may import of the others.
ALLOWED = {
    "sbp_kernels": set(),
    "sbp_study": {"sbp_kernels"},
    "examples": {"sbp_kernels", "sbp_study"},
    "benchmarks": {"sbp_kernels", "sbp_study"},
    "build_tools": set(),
}
# Modules and folders of a package from the lowest layer up: each imports only its own layer and those before it. A
# folder stands for its modules, unless they have entries of their own.
LAYERS = {
    "sbp_kernels": [
        {"backends.interface", "transforms"},
        {"backends", "tensor_cache"},
        {"adjacency.base", "adjacency.checks", "adjacency.sparsity"},
        {"adjacency.edge_weight", "adjacency.groups", "adjacency.low_rank"},
        {"adjacency.sparse_matrix"},
        {"adjacency.conversion", "adjacency.normalization"},
        {"adjacency.class_block", "adjacency.csr", "adjacency.similarity"},
        {"merged_csr"},
        {"graph"},
        {"dispatch"},
        {"composed"},
        {"autograd"},
        {"multi_step"},
        {"arguments"},
        {"config", "propagate", "spmm"},
        {"distributed.failure"},
        {"distributed.collectives", "distributed.partition"},
        {"distributed"},
        {"pyg"},
        {"nn"},
        {"__main__"},
    ],
    "sbp_study": [
        {"errors", "presets", "threads"},
        {"config"},
        {"datasets"},
        {"models"},
        {"training"},
        {"theory"},
        {"paper"},
        {"reporting"},
        {"study"},
        {"cli"},
        {"__main__"},
    ],
    "benchmarks": [
        {"cases"},
        {"competitors"},
        {"reporting"},
        {"timing"},
        {"bench_build", "bench_implicit", "bench_layers", "bench_propagate", "bench_reorder", "bench_study"},
        {"check_targets", "gpu", "instructions", "render", "test_quick", "tune"},
    ],
}
RANK = {
    f"{package}.{name}": rank
    for package, layers in LAYERS.items()
    for rank, names in enumerate(layers)
    for name in names
}
MAX_FILES = 14


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "python" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def entry_of(module: str) -> str | None:
    """Return the entry of RANK for a module: its own, or that of the nearest folder above it."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((name for name in names if name in RANK), None)


def imports(path: Path, *, types: bool = False) -> set[str]:
    """Return the absolute names of what a file imports when it runs; with `types`, also what it imports for types."""
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


@pytest.mark.parametrize("path", [p for p in PYTHON if module_of(p).split(".")[0] in LAYERS], ids=name_of)
def test_modules_depend_one_way(path):
    module = module_of(path)
    entry = entry_of(module)
    # A package's own __init__ re-exports what it likes; so does that of a folder whose modules have several layers.
    if path.name == "__init__.py" and entry is None:
        return
    assert entry is not None, f"{name_of(path)} has no place in LAYERS"
    for imported in imports(path):
        other = entry_of(imported)
        same_package = other is not None and other.split(".")[0] == module.split(".")[0]
        allowed = not same_package or RANK[other] <= RANK[entry]
        assert allowed, f"{name_of(path)} must not import {imported}: it stands above it"


def test_no_module_imports_itself_through_others():
    """Not even for types."""
    modules = {module_of(path): path for path in PYTHON if path.name != "__init__.py"}
    edges = {name: imports(path, types=True) & modules.keys() - {name} for name, path in modules.items()}
    # Take away what imports nothing, or is imported by nothing, until only cycles and paths between them are left.
    while free := {name for name, others in edges.items() if not others} | edges.keys() - set().union(*edges.values()):
        edges = {name: others - free for name, others in edges.items() if name not in free}
    assert not edges, f"import cycles among {sorted(edges)}"


@pytest.mark.parametrize("path", sorted((ROOT / "sbp_kernels/backends").rglob("*.py")), ids=name_of)
def test_backends_import_nothing_of_the_package(path):
    if path.name == "__init__.py" and path.parent.name == "backends":
        return
    shared = ("_extension", "_fakes", "degree_bins", "interface", "similarity_blas")
    own = {f"sbp_kernels.backends.{name}" for name in shared}
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


@pytest.mark.parametrize("folder", sorted({p.parent for p in PYTHON + KERNELS + TESTS}), ids=name_of)
def test_folders_stay_small(folder):
    count = sum(p.parent == folder for p in PYTHON + KERNELS + TESTS)
    assert count <= MAX_FILES, f"{name_of(folder)} has {count} source files"


@pytest.mark.parametrize("root", ["sbp_kernels", "python/sbp_study"])
def test_every_folder_is_a_package(root):
    # setuptools leaves a folder without `__init__.py` out of a wheel.
    for folder in {p.parent for p in (ROOT / root).rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{name_of(folder)} has no __init__.py"


def test_top_level_is_what_the_design_says():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.splitlines()}
    # .github has the files that the code host reads, build_tools what runs before the package is installed.
    folders = {"sbp_kernels", "csrc", "python", "benchmarks", "tests", "docs", "build_tools", ".ci", ".github"}
    files = {"setup.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"}
    assert top <= folders | files | {".gitignore", "BENCHMARKS.md", "MANIFEST.in", "CITATION.cff", "mkdocs.yml"}
