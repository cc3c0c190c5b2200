"""The commands: each one converts its flags into a call of `study`, `theory` or `paper` and shows the result.

Commands import the modules that they run: torch, PyG and matplotlib take seconds to import, and help needs none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import OPTIONS
from ..training.files import json_document, require_writable, write
from .exit_handler import ExitHandler
from .parser import build_parser, value_of

if TYPE_CHECKING:
    from ..training.runner import Options


def main(argv: Sequence[str] | None = None, exit_handler: ExitHandler | None = None) -> int:
    """Run the command line and return its exit status (see `ExitHandler`)."""
    exit_handler = exit_handler or ExitHandler()
    with exit_handler:
        parser = build_parser()
        args = parser.parse_args(argv)
        if args.list:
            args.command, args.json = "list", False
        if args.command is None:
            parser.print_help()
        else:
            exit_handler.hint = _hint(args)
            if _writes_files(args):
                require_writable(Path(args.out))
            _COMMANDS[args.command](args)
    return exit_handler.status


def _writes_files(args: argparse.Namespace) -> bool:
    """Return whether the command writes files: tables and figures, or finished runs."""
    return args.command in ("depth", "sweep", "reproduce") or getattr(args, "keep", False)


def _hint(args: argparse.Namespace) -> str:
    """Return a sentence on how to resume the command after an interrupt."""
    if args.command in ("signed", "list"):
        return ""
    if args.command != "reproduce" and not args.keep:
        return "no run was saved; with --keep the same command resumes where it was stopped"
    same = "the same command without --fresh" if args.fresh else "the same command"
    return f"finished runs are in {Path(args.out) / 'runs'}; {same} resumes there"


def _train(args: argparse.Namespace) -> None:
    from ..reporting.result_files import document
    from ..reporting.terminal import show_layers, show_train
    from ..study import train
    from ..training.runner import is_signed

    settings, options = _settings(args), _options(args, per_layer=args.metrics)
    results = [train(args.dataset, args.model, args.layers, options=options, **settings)]
    if args.ablation and is_signed(results[0].config):
        results.append(train(args.dataset, args.model, args.layers, options=options, **{**settings, "beta": 0.0}))
    _report_cached_runs(options)
    if args.json:
        print(document("train", results))
    else:
        show_train(results)
        show_layers(results)


def _depth(args: argparse.Namespace) -> None:
    from ..reporting.terminal import show_depth
    from ..study import depth

    options = _options(args)
    results = depth(args.dataset, args.models, args.layers, ablation=args.ablation, options=options, **_settings(args))
    _report_cached_runs(options)
    _write(args, f"depth_{args.dataset}", results, "layers", show_depth)


def _sweep(args: argparse.Namespace) -> None:
    from ..reporting.terminal import show_sweep
    from ..study import sweep

    option = OPTIONS.get(args.setting)
    try:
        values = [value_of(option, value) for value in args.values]
    except ValueError:
        kind, got = option.type.__name__ if option else "str", ",".join(args.values)
        raise ValueError(f"{args.setting} takes values of type {kind}, got {got}") from None
    options = _options(args)
    results = sweep(args.dataset, args.models, args.setting, values, args.layers, options=options, **_settings(args))
    _report_cached_runs(options)
    _write(args, f"sweep_{args.dataset}_{args.setting}", results, args.setting, lambda r: show_sweep(r, args.setting))


def _write(
    args: argparse.Namespace, name: str, results: list[Any], axis: str, show: Callable[[list[Any]], None]
) -> None:
    """Write the CSV, JSON and figure files; print the table, or the JSON document with --json."""
    from ..reporting.result_files import document, write_csv
    from ..reporting.study_figure import save_figure

    stem, text = Path(args.out) / name, document(args.command, results)
    write_csv(stem.with_suffix(".csv"), results)
    write(stem.with_suffix(".json"), text + "\n")
    save_figure(results, stem, axis)
    if args.json:
        print(text)
    else:
        show(results)
        print(f"written: {stem}.png, .svg, .csv and .json")


def _signed(args: argparse.Namespace) -> None:
    from ..reporting.terminal import show_dataset_report
    from ..theory.dataset_report import document, report_dataset

    data, reports = report_dataset(args.dataset, args.root, args.split)
    if args.json:
        print(document(data, reports))
    else:
        show_dataset_report(args.dataset, reports)


def _reproduce(args: argparse.Namespace) -> None:
    from ..paper.reproduce import Request, reproduce
    from ..reporting.paper_comparison import document, show, write
    from ..training.run_cache import RunCache
    from ..training.runner import Options

    folder = Path(args.out)
    shown = not (args.json or args.quiet)
    options = Options(args.root, RunCache(folder, args.fresh), progress=shown, stand_ins=args.quick)
    request = Request(args.datasets, args.layers, args.seeds, args.learn, args.all, args.quick)
    plan, outcomes = reproduce(args.name, options, request)
    _report_cached_runs(options)
    files = write(plan, outcomes, folder)
    if args.json:
        print(document(plan, outcomes))
    else:
        show(plan, outcomes)
        print(f"written: {', '.join(str(file) for file in files)}")


def _list(args: argparse.Namespace) -> None:
    from ..datasets import list_datasets
    from ..reporting.terminal import show_list
    from ..study import list_models

    models, datasets = list_models(), list_datasets()
    if args.json:
        print(json_document("list", models=models, datasets=datasets))
    else:
        show_list(models, datasets)


def _report_cached_runs(options: Options) -> None:
    from ..training.progress import note

    run_cache = options.run_cache
    if options.progress and run_cache is not None and run_cache.runs_read:
        folder = run_cache.folder / "runs"
        note(f"{run_cache.runs_read} finished runs were read from {folder}; --fresh computes them again")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in (*OPTIONS, "backbone", "split", "seeds", "first_seed")}
    return {name: value for name, value in given.items() if value is not None}


def _options(args: argparse.Namespace, per_layer: bool = False) -> Options:
    from ..training.run_cache import RunCache
    from ..training.runner import Options

    run_cache = RunCache(Path(args.out), args.fresh) if args.keep else None
    return Options(args.root, run_cache, args.metrics, per_layer, not (args.json or args.quiet))


_COMMANDS = {
    "train": _train,
    "depth": _depth,
    "sweep": _sweep,
    "signed": _signed,
    "reproduce": _reproduce,
    "list": _list,
}
