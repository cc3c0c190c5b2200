"""The shape of the project: dependencies run one way, files and functions stay short."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted(p for d in ("sbp_kernels", "python", "benchmarks") for p in (ROOT / d).rglob("*.py"))
MODULES = sorted(p for d in (".", "pyg", "nn", "nn/signed_directed") for p in (ROOT / "sbp_kernels" / d).glob("*.py"))
KERNELS = sorted(p for s in ("*.h", "*.cpp", "*.cuh", "*.cu") for p in (ROOT / "csrc").rglob(s))
# What a package may import of the others.
ALLOWED = {
    "sbp_kernels": set(),
    "sbp_study": {"sbp_kernels"},
    "examples": {"sbp_kernels", "sbp_study"},
    "benchmarks": {"sbp_kernels", "sbp_study"},
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


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, for_types: bool = False) -> set[str]:
    """Absolute names of the project's own modules that a file imports when it runs, or `for_types` too."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test) and not for_types
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


STUDY = {
    ".".join(p.relative_to(ROOT / "python").with_suffix("").parts).removesuffix(".__init__"): p
    for p in (ROOT / "python/sbp_study").rglob("*.py")
}
# A folder of the study, or a module at its top, imports only what stands on the same line or above.
STUDY_ORDER = (
    ("errors", "threads", "presets"),
    ("config",),
    ("datasets",),
    ("models",),
    ("training",),
    ("theory",),
    ("paper",),
    ("reporting",),
    ("study",),
    ("cli",),
    ("__main__",),
)


def study_imports(name: str) -> set[str]:
    """Modules of the study that a module imports, type-only and inside functions too."""
    found = imports(STUDY[name], for_types=True)
    # `from ..config import Config` gives sbp_study.config and sbp_study.config.Config: only the first is a module.
    modules = {i for i in found if i in STUDY} - {name}
    # `from . import stand_in` imports a module of the package, and nothing that its __init__ defines.
    names = {m: {i for i in found if i.rpartition(".")[0] == m} for m in modules}
    bare = {m for m in modules if names[m] and names[m] <= set(STUDY)}
    return modules - bare


def test_study_modules_depend_one_way():
    rank = {name: place for place, names in enumerate(STUDY_ORDER) for name in names}
    for name in sorted(set(STUDY) - {"sbp_study"}):
        own = name.split(".")[1]
        assert own in rank, f"{name} has no place in STUDY_ORDER"
        for imported in study_imports(name):
            other = imported.split(".")[1] if imported != "sbp_study" else "sbp_study"
            assert other in rank and rank[other] <= rank[own], f"{name} must not import {imported}: it stands above it"


def test_study_modules_have_no_import_cycle():
    edges = {name: study_imports(name) for name in STUDY}
    while leaves := {name for name, targets in edges.items() if not targets}:
        edges = {name: targets - leaves for name, targets in edges.items() if name not in leaves}
    assert not edges, f"import cycle among {sorted(edges)}"


@pytest.mark.parametrize("root", ["sbp_kernels", "python/sbp_study"])
def test_every_folder_is_a_package(root):
    # setuptools leaves a folder without `__init__.py` out of a wheel.
    for folder in {p.parent for p in (ROOT / root).rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{name_of(folder)} has no __init__.py"


@pytest.mark.parametrize("root", ["python/sbp_study", "tests/sbp_study"])
def test_study_folders_have_few_files(root):
    folders = {p.parent for p in (ROOT / root).rglob("*.py")}
    for folder in folders:
        count = len(list(folder.glob("*.py")))
        assert count <= 14, f"{name_of(folder)} has {count} source files"


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
