"""python docs/build.py: build the documentation site in build/site, without a network, and check its links.

The pages are those of docs/pages; CONTRIBUTING.md, CHANGELOG.md, BENCHMARKS.md, the drawings and the rows of the
explorer are added to a copy of them. Any warning of MkDocs and any broken link is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import plotly
from drawings import DRAWINGS
from explorer_rows import script

DOCS = Path(__file__).parent
ROOT = DOCS.parent
SOURCE, SITE = ROOT / "build/docs-src", ROOT / "build/site"
COPIED = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "BENCHMARKS.md": "benchmarks.md"}


def collect() -> None:
    """Copy the pages and add everything that is generated."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(DOCS / "pages", SOURCE)
    assets = SOURCE / "assets"
    for name, draw in DRAWINGS.items():
        (assets / f"{name}.svg").write_text(draw())
    (assets / "explorer-rows.js").write_text(script(ROOT / "benchmarks/results"))
    shutil.copy(Path(plotly.__file__).parent / "package_data/plotly.min.js", assets)
    for name, page in COPIED.items():
        text = (ROOT / name).read_text()
        for picture in set(re.findall(r"\]\((benchmarks/results/[^)]+)\)", text)):
            target = Path("assets") / Path(picture).name
            shutil.copy(ROOT / picture, SOURCE / target)
            text = text.replace(f"]({picture})", f"]({target})")
        (SOURCE / page).write_text(text)
    shutil.copy(ROOT / "benchmarks/results/cpu-amd-epyc/degree.png", assets)


def localize(site: Path) -> None:
    """Replace the script that the theme would load from another host, for searches in the file system, by ours."""
    for path in site.rglob("*.html"):
        ours = "../" * (len(path.relative_to(site).parts) - 1) + "assets/file-worker.js"
        path.write_text(path.read_text().replace("https://unpkg.com/iframe-worker/shim", ours))


class Page(HTMLParser):
    """The ids and the local links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.remote: list[str] = []
        self.without_text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ids, links, and pictures without a text for readers who do not see them."""
        found = dict(attrs)
        self.ids.update(value for name in ("id", "name") if (value := found.get(name)))
        self.links += [value for name in ("href", "src") if (value := found.get(name))]
        self.remote += [value for value in [found.get("src")] if value and urlsplit(value).netloc]
        if tag == "img" and not found.get("alt"):
            self.without_text.append(found.get("src") or "")


def broken_links(site: Path) -> Iterator[str]:
    """Yield a line for every local link without its file or anchor, and for every load from another host."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (f"{where}: {source} has no alt text" for source in page.without_text)
        yield from (f"{where}: {source} is on another host" for source in page.remote)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            # The page of an unknown address is shown at any depth, with links from the root.
            # Anchors with two underscores are the theme's own.
            anchor = "" if parts.fragment.startswith("__") else unquote(parts.fragment)
            if path.name != "404.html" and not target.exists():
                yield f"{where}: {link} leads nowhere"
            elif anchor and target in pages and anchor not in pages[target].ids:
                yield f"{where}: {link} names no heading"


def main() -> int:
    """Build and check; return 0, or 1 after a warning or a broken link."""
    collect()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-f", str(DOCS / "mkdocs.yml")]
    if subprocess.run(command, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=False).returncode:
        return 1
    localize(SITE)
    broken = list(broken_links(SITE))
    print("\n".join(broken) or f"{len(list(SITE.rglob('*.html')))} pages, every local link found, in {SITE}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
