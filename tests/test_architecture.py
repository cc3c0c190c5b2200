"""The shape of the project: dependencies run one way, files and functions stay short."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted(p for d in ("sbp_kernels", "python", "benchmarks") for p in (ROOT / d).rglob("*.py"))
MODULES = sorted((ROOT / "sbp_kernels").rglob("*.py"))
KERNELS = sorted(p for s in ("*.h", "*.cpp", "*.cuh", "*.cu") for p in (ROOT / "csrc").rglob(s))
# What a package may import of the others.
ALLOWED = {
    "sbp_kernels": set(),
    "sbp": {"sbp_kernels"},
    "examples": {"sbp_kernels", "sbp"},
    "benchmarks": {"sbp_kernels", "sbp"},
}
# Modules of sbp_kernels from the lowest layer up; a folder without entries of its own is one layer.
LAYERS = {
    name: rank
    for rank, names in enumerate(
        [
            {"backends.interface", "layer_norm", "transforms"},
            {"backends", "tensor_cache"},
            {"adjacency.checks", "adjacency.sparsity", "adjacency.base"},
            {"adjacency.edge_weight", "adjacency.low_rank"},
            {"adjacency.sparse_matrix", "adjacency.normalization"},
            {"adjacency.csr", "adjacency.class_block", "adjacency.similarity"},
            {"merged_csr"},
            {"graph"},
            {"dispatch"},
            {"composed"},
            {"autograd"},
            {"multi_step"},
            {"propagate", "config"},
            {"pyg"},
            {"nn"},
        ]
    )
    for name in names
}


def layer_of(module: str) -> str | None:
    """Return the entry of LAYERS for a module such as `sbp_kernels.adjacency.csr`: its own, or its folder's."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in LAYERS:
            return name
    return None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, types: bool = False) -> set[str]:
    """Absolute names of the project's own modules that a file imports when it runs; with `types`, for types as well."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for n in ast.walk(i)
    }
    for node in ast.walk(tree):
        if not types and id(node) in skipped:
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


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "python" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent.name != "sbp_kernels" or p.stem != "__init__"], ids=name_of
)
def test_modules_depend_one_way(path):
    layer = layer_of(module_of(path))
    # What a folder's __init__ re-exports may come from all of its layers.
    if path.name == "__init__.py" and layer is None:
        return
    assert layer is not None, f"{name_of(path)} has no place in LAYERS"
    for imported in imports(path):
        other = layer_of(imported) if imported.startswith("sbp_kernels.") else None
        allowed = other is None or LAYERS[other] <= LAYERS[layer]
        assert allowed, f"{name_of(path)} must not import {imported}: it stands above it"


def test_no_module_imports_itself_through_others():
    """Not even for types: a cycle of imports is a concept that nobody has found yet."""
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


def test_top_level_is_what_the_design_says():
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.splitlines()}
    folders = {"sbp_kernels", "csrc", "python", "benchmarks", "tests", ".ci"}
    files = {"setup.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"}
    assert top <= folders | files | {".gitignore", "BENCHMARKS.md", "MANIFEST.in"}
