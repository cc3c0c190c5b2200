"""Render result rows as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..cases.modes import LEARNABLE, OURS
from .peers import PEERS
from .queries import Row, against, case_of, chosen, share_of_roofline, usual
from .targets import Runs, verdicts
from .terminal import number

NOT_RUN = "not yet run"


def origin(rows: Sequence[Row]) -> str:
    """Return the sentence that states where the rows were measured."""
    r = rows[0]
    return (
        f"Medians of interleaved runs on {r['device']}, {r['threads']} threads, torch {r['torch']}, "
        f"commit {r['commit']}, {r['date'][:10]}."
    )


def grid(heads: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a column `name:` is right-aligned; "not yet run" without rows."""
    if not rows:
        return f"{NOT_RUN}."
    names = heads.split(" | ")
    rule = "|".join("--:" if name.endswith(":") else "---" for name in names)
    lines = [f"| {' | '.join(name.removesuffix(':') for name in names)} |", f"|{rule}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _ratio(rows: Sequence[Row], peer: str, row: Row, *, interval: bool) -> str:
    fields = dict(zip(("workload", "width", "dtype", "mode"), case_of(row), strict=True))
    found = against(rows, peer, **fields)
    if not found:
        return "–"
    r, text = found[0].row, f"{found[0].value:.1f}×"
    if interval and r["ratio_low"]:
        text += f" ({float(r['ratio_low']):.1f}–{float(r['ratio_high']):.1f})"
    return text


def _memory(rows: Sequence[Row], method: str, row: Row) -> str:
    for r in rows:
        if usual(r) and r["method"] == method and case_of(r) == case_of(row) and r["extra_memory_bytes"]:
            return f"{float(r['extra_memory_bytes']) / float(r['output_bytes']):.2f}×"
    return "–"


def readme(devices: Sequence[tuple[str, Sequence[Row]]], width: str) -> str:
    """Return the README's table, for one width: the names of the devices, with their rows."""
    heads = f"processor | graph (d = {width}) | step | type | ours, ms:"
    heads += "".join(f" | faster than {label}:" for label, _, _ in PEERS.values())
    heads += " | memory / output: ours: | PyG scatter:"
    lines = []
    for device, rows in devices:
        first: dict[tuple[str, ...], Row] = {}
        for row in chosen(rows, method=OURS, width=width):
            # Cases for threads and instruction sets repeat some cases: use the row that was timed with the peers.
            first.setdefault(case_of(row), row)
        for row in first.values():
            cells = [device, row["workload"], row["mode"], row["dtype"], number(float(row["median_ms"]))]
            cells += [_ratio(rows, peer, row, interval=False) for peer in PEERS]
            lines.append(cells + [_memory(rows, method, row) for method in (OURS, "pyg_scatter")])
    origins = " ".join(origin(rows) for _, rows in devices)
    return f"{grid(heads, lines)}\n\n{origins} –: there is no such product for this type, or it was not measured."


def step(rows: Sequence[Row]) -> str:
    """Return every usual case of ours with speedups over the three peers, intervals, and share of the roofline."""
    heads = "graph | d: | type | step | ours, ms:" + "".join(f" | than {label}:" for label, _, _ in PEERS.values())
    heads += " | share of the roofline:"
    lines = []
    # A case that was measured twice has one row; its ratios are the smaller ones.
    for row in {case_of(r): r for r in chosen(rows, method=OURS) if r["mode"] not in LEARNABLE}.values():
        cells = [row["workload"], row["width"], row["dtype"], row["mode"], number(float(row["median_ms"]))]
        share = share_of_roofline(row)
        cells += [_ratio(rows, peer, row, interval=True) for peer in PEERS]
        lines.append([*cells, "–" if share is None else f"{100 * share:.0f} %"])
    return f"{grid(heads, lines)}\n\n{origin(rows)} In brackets: 95 % bootstrap interval of the ratio."


def methods(rows: Sequence[Row]) -> str:
    """Return the cases in which all methods ran: the speedup of ours over each, or why a method did not run."""
    heads = "graph | step | method | ms: | ours faster by: | memory / output: | note"
    every = {case_of(r) for r in rows if r["method"] == "dgl"}
    lines = []
    for r in rows:
        if case_of(r) not in every or (r["method"] == OURS and r["ratio_low"]) or r["cache"] == "cold":
            continue
        where = [f"{r['workload']} d={r['width']}", r["mode"], r["method"]]
        if not r["median_ms"]:
            lines.append([*where, "–", "–", "–", r["note"]])
            continue
        ratio = "" if r["method"] == OURS else f"{float(r['ratio_to_ours']):.2f}×"
        lines.append([*where, number(float(r["median_ms"])), ratio, _memory([r], r["method"], r), r["note"]])
    return grid(heads, lines)


def others(rows: Sequence[Row]) -> str:
    """Return the cases with learnable coefficients or weights or cold caches: every method that ran."""
    heads = "graph | d: | case | method | ms: | ours faster by:"
    lines = []
    for r in rows:
        if r["median_ms"] and (r["mode"] in LEARNABLE or r["cache"] == "cold"):
            what = r["mode"] if r["mode"] in LEARNABLE else f"{r['mode']}, cold cache"
            ratio = "" if r["method"] == OURS else f"{float(r['ratio_to_ours']):.2f}×"
            lines.append([r["workload"], r["width"], what, r["method"], number(float(r["median_ms"])), ratio])
    return grid(heads, lines)


def implicit(rows: Sequence[Row]) -> str:
    """Return the table of comparisons: implicit negatives, several steps, layers."""
    lines = []
    for r in rows:
        where = [r["case"], f"{int(r['num_nodes']):,}", r["width"], r["call"]]
        if not r["median_ms"]:
            lines.append([*where, "–", "–", r["note"]])
            continue
        memory = float(r["extra_memory_bytes"]) / float(r["output_bytes"])
        lines.append([*where, number(float(r["median_ms"])), f"{float(r['ratio_to_first']):.2f}×", f"{memory:.2f}×"])
    return f"{grid('case | nodes: | d: | call | ms: | time / first call: | memory / output:', lines)}\n\n{origin(rows)}"


def build(rows: Sequence[Row]) -> str:
    """Return the table of the graph build, with the number of forward calls after which it has paid off."""
    lines = []
    for r in rows:
        cells = [r["workload"], r["step"], *(number(float(r[k])) for k in ("median_ms", "forward_passes"))]
        lines.append([*cells, _break_even(r)])
    return f"{grid('graph | step | ms: | our forward passes: | break-even calls:', lines)}\n\n{origin(rows)}"


def reorder(rows: Sequence[Row]) -> str:
    """Return the table of node orders."""
    lines = []
    for r in rows:
        cells = [number(float(r[k])) for k in ("build_ms", "median_ms", "ratio_to_given")]
        lines.append([r["workload"], r["width"], r["order"], *cells, _break_even(r)])
    heads = "graph | d: | order | reordering, ms: | forward, ms: | time / given order: | break-even calls:"
    return f"{grid(heads, lines)}\n\n{origin(rows)}"


def _break_even(row: Row) -> str:
    calls = row["break_even_calls"]
    return calls if calls in ("", "never") else number(float(calls))


def targets(runs: Runs) -> str:
    """Return the table of targets."""
    lines = []
    for target, found, holds in verdicts(runs):
        measured = NOT_RUN if found is None else f"{found.value:.2f}×"
        verdict = "–" if found is None else "yes" if holds else "**no**"
        lines.append([target.text, measured, verdict, "" if found is None else found.where])
    return f"{grid('target | measured: | holds | where', lines)}\n\n{origin(runs.propagate)}"


def rewrite(path: Path, block: str, table: str) -> None:
    """Replace the text between the file's markers of this name."""
    start, end = f"<!-- {block}:start -->", f"<!-- {block}:end -->"
    text = path.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"{path} must hold {start} and, after it, {end}, once each")
    head, rest = text.split(start)
    _, tail = rest.split(end)
    path.write_text(f"{head}{start}\n{table}\n{end}{tail}", encoding="utf-8")
