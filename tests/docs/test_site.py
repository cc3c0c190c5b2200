"""The site builds without a warning, its links lead somewhere, and the explorer shows the numbers of the CSV."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_explorer_has_the_numbers_of_the_csv():
    rows = json.loads(load("explorer_rows").script(ROOT / "benchmarks/results").removeprefix("const ROWS = ")[:-2])
    cases = {}
    for path in (ROOT / "benchmarks/results").glob("*/propagate.csv"):
        with path.open(newline="") as file:
            for r in csv.DictReader(file):
                cases.setdefault((r["device"], r["workload"], r["width"], r["dtype"], r["mode"]), set()).add(
                    r["median_ms"] and float(r["median_ms"])
                )
    assert len(rows) > 200
    for row in rows:
        assert row["median_ms"] in cases[tuple(row[k] for k in ("device", "workload", "width", "dtype", "mode"))]
    # One bar a method: no two rows answer the same choice.
    keys = [
        tuple(r[k] for k in ("device", "workload", "width", "dtype", "mode", "cache", "threads", "method"))
        for r in rows
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["row_pass", "class_block", "streamed_softmax", "hub_rows", "steps"])
def test_drawings_are_svg_with_a_title(name):
    root = ElementTree.fromstring(getattr(load("drawings"), name)())
    width, height = map(float, root.get("viewBox").split()[2:])
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text
    for shape in root.iter(f"{space}rect"):
        x, y = float(shape.get("x", 0)), float(shape.get("y", 0))
        assert x >= 0 and x + float(shape.get("width")) <= width and y + float(shape.get("height")) <= height


def test_broken_links_are_found(tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    build = load("build")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">b</a><a href="c.html">c</a><img src="b.html">'
        '<script src="https://example.org/a.js"></script>'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="#here">x</a><a href="https://example.org">y</a>')
    assert sorted(build.broken_links(tmp_path)) == [
        "a.html: b.html has no alt text",
        "a.html: b.html#there names no heading",
        "a.html: c.html leads nowhere",
        "a.html: https://example.org/a.js is on another host",
    ]


@pytest.mark.slow
def test_site_builds_without_warnings(monkeypatch):
    for name in ("mkdocs", "material", "mkdocstrings", "plotly", "latex2mathml"):
        pytest.importorskip(name, reason="the extra docs is not installed")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    assert load("build").main() == 0
    assert (ROOT / "build/site/explorer.html").exists()


@pytest.mark.slow
def test_explorer_and_search_in_a_browser():
    """In Chromium, from the file system: filters change the figure, and its numbers equal the CSV; the search finds."""
    playwright = pytest.importorskip("playwright.sync_api")
    site, browser_path = ROOT / "build/site", shutil.which("chromium")
    if browser_path is None or not (site / "explorer.html").exists():
        pytest.skip("needs Chromium and the built site")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(request.url))
        page.goto((site / "explorer.html").as_uri(), timeout=120_000)
        shown = {}
        for graph in ("arxiv", "cora"):
            page.select_option("#filter-workload", graph)
            shown[graph] = page.eval_on_selector("#explorer-figure", "e => [...e.data[0].x]")
            cells = page.eval_on_selector_all("#explorer-table td:nth-child(2)", "c => c.map(e => +e.textContent)")
            assert shown[graph] == cells and len(cells) > 3
            with next((ROOT / "benchmarks/results").glob("*/propagate.csv")).open(newline="") as file:
                medians = {
                    float(r["median_ms"])
                    for r in csv.DictReader(file)
                    if (r["workload"], r["width"], r["mode"]) == (graph, "128", "forward") and r["median_ms"]
                }
            assert set(cells) <= medians
        assert shown["arxiv"] != shown["cora"]
        page.click(".md-search__input")
        page.keyboard.type("oversmoothing", delay=20)
        page.wait_for_selector(".md-search-result__item a", timeout=30_000)
        assert not errors
        browser.close()
