"""Every code block of the README and of the documentation runs, and every command in them exists."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path

import pytest
import torch

from sbp_study.cli.parser import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/pages").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[tuple[str, str]]:
    return [(language, code) for _, language, code in BLOCK.findall(path.read_text())]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [p for p in PAGES if any(b[0] == "python" for b in blocks(p))], ids=name_of)
def test_python_blocks_run(path, monkeypatch):
    """The blocks of a page run in order, in one namespace, without a warning."""
    pytest.importorskip("torch_geometric")
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "page"}
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", module="torch")
        for language, code in blocks(path):
            if language == "python":
                exec(compile(code, f"{name_of(path)}", "exec"), namespace)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_exist(path):
    """A line of a shell block is a command of the study, a target of the Makefile, or an installation."""
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for language, code in blocks(path):
        assert language in ("python", "bash", "text", "bibtex"), f"{name_of(path)} has a block of {language or 'none'}"
        if language != "bash":
            continue
        for line in code.strip().splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "sbp_study"]:
                build_parser().parse_args(words[3:])
            elif words and words[0] == "make":
                for target in (word for word in words[1:] if "=" not in word):
                    assert f"\n{target}:" in makefile, f"there is no target {target}"
                for variable in (word.split("=")[0] for word in words[1:] if "=" in word):
                    assert f"\n{variable} ?=" in makefile or variable.startswith("SBP_"), variable
            elif words[:2] == ["pip", "install"]:
                for extra in re.findall(r"\[(\w+)\]", line):
                    assert f"\n{extra} = [" in project, f"there is no extra {extra}"
            else:
                assert words in ([], ["python", "-m", "sbp_kernels"]), f"{name_of(path)}: {line}"


def test_environment_variables_are_listed():
    """The page has every variable that the package, its build or its kernels read."""
    page = (ROOT / "docs/pages/environment-variables.md").read_text()
    files = [*(ROOT / "sbp_kernels").rglob("*.py"), *(ROOT / "csrc").rglob("*.*"), ROOT / "setup.py"]
    files += (ROOT / "build_tools").glob("*.py")
    read = re.compile(r'(?:environ\.get\(|environ\[|getenv\()\s*"(\w+)"')
    found = {
        name
        for file in files
        if file.suffix in (".py", ".cpp", ".h", ".cu", ".cuh")
        for name in read.findall(file.read_text())
    }
    assert {"SBP_CPU_ISA", "SBP_BUILD_NATIVE"} <= found
    missing = {name for name in found if f"`{name}`" not in page} - {"CUDA_PATH"}
    assert not missing


def test_every_public_name_is_in_the_reference():
    import sbp_kernels
    from sbp_kernels import nn, pyg

    text = "\n".join(path.read_text() for path in (ROOT / "docs/pages/api").glob("*.md"))
    named = set(re.findall(r"^::: .*?(\w+)$", text, re.MULTILINE))
    for module in (sbp_kernels, nn, pyg):
        assert set(module.__all__) <= named, f"{module.__name__}: {set(module.__all__) - named}"
