"""The command line: flags are the fields of `Config`, commands are the functions of `study`.

Commands import what they run: torch, PyG and matplotlib take seconds, which help and usage errors need not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .config import OPTIONS
from .presets import BACKBONES, MODEL_PRESETS

if TYPE_CHECKING:
    from .runner import Options

_MODELS, _DEPTHS = "sgc,label-sbp", "2,10,50,100,300"
_EXAMPLES = """\
examples:
  python -m sbp train --dataset karate --model label-sbp          no files needed
  python -m sbp train --dataset cora --model label-sbp --layers 2 --root data
  python -m sbp depth --dataset cora --models sgc,label-sbp --layers 2,10,50,100,300 --root data
  python -m sbp depth --dataset csbm --models sgc,label-sbp,feature-sbp --layers 2,10,50,200
  python -m sbp signed --dataset csbm                             what the theory says of its signed graphs
  python -m sbp list                                              models and datasets

Settings not given come from presets per model and dataset; `train --help` lists them.
Datasets are read from --root in the layout of PyG (root/Cora/raw/...), or downloaded there.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on stderr."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 for a user's error, 130 if interrupted."""
    parser = _build_parser()
    args = parser.parse_args(argv)
    if args.list:
        args.command, args.json = "list", False
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return {"train": _train, "depth": _depth, "sweep": _sweep, "signed": _signed, "list": _list}[args.command](args)
    # What the kernels and the file system refuse is the user's to mend as well.
    except (ValueError, NotImplementedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _train(args: argparse.Namespace) -> int:
    from .report import show_layers, show_train
    from .result import document
    from .runner import is_signed
    from .study import train

    settings, options = _settings(args), _options(args, per_layer=args.metrics)
    results = [train(args.dataset, args.model, args.layers, options=options, **settings)]
    if args.ablation and is_signed(results[0].config):
        results.append(train(args.dataset, args.model, args.layers, options=options, **{**settings, "beta": 0.0}))
    if args.json:
        print(document("train", results))
    else:
        show_train(results)
        show_layers(results)
    return 0


def _depth(args: argparse.Namespace) -> int:
    from .report import show_depth
    from .study import depth

    options = _options(args)
    results = depth(args.dataset, args.models, args.layers, ablation=args.ablation, options=options, **_settings(args))
    _write(args, f"depth_{args.dataset}", results, "layers", show_depth)
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from .report import show_sweep
    from .study import sweep

    convert = OPTIONS[args.setting].type if args.setting in OPTIONS else str
    try:
        values = [convert(value) for value in args.values]
    except ValueError:
        got = ",".join(args.values)
        raise ValueError(f"{args.setting} takes values of type {convert.__name__}, got {got}") from None
    options = _options(args)
    results = sweep(args.dataset, args.models, args.setting, values, args.layers, options=options, **_settings(args))
    _write(args, f"sweep_{args.dataset}_{args.setting}", results, args.setting, lambda r: show_sweep(r, args.setting))
    return 0


def _write(
    args: argparse.Namespace, name: str, results: list[Any], axis: str, show: Callable[[list[Any]], None]
) -> None:
    """Write rows, document and figure, and show the table, or the document where asked."""
    from .plot import save_figure
    from .result import document, write_csv

    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    stem, text = folder / name, document(args.command, results)
    write_csv(stem.with_suffix(".csv"), results)
    stem.with_suffix(".json").write_text(text + "\n")
    save_figure(results, stem, axis)
    if args.json:
        print(text)
    else:
        show(results)
        print(f"written: {stem}.png, .svg, .csv and .json")


def _signed(args: argparse.Namespace) -> int:
    from .report import show_signs
    from .signs import document, signs

    data, readings = signs(args.dataset, args.root, args.split)
    if args.json:
        print(document(data, readings))
    else:
        show_signs(args.dataset, readings)
    return 0


def _list(args: argparse.Namespace) -> int:
    from .datasets import list_datasets
    from .report import show_list
    from .study import list_models

    models, datasets = list_models(), list_datasets()
    if args.json:
        print(json.dumps({"models": models, "datasets": datasets}, indent=2))
    else:
        show_list(models, datasets)
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in (*OPTIONS, "backbone", "split", "seeds", "first_seed")}
    return {name: value for name, value in given.items() if value is not None}


def _options(args: argparse.Namespace, per_layer: bool = False) -> Options:
    from .runner import Options
    from .store import Store

    store = Store(Path(args.out), args.fresh) if args.keep else None
    return Options(args.root, store, args.metrics, per_layer, not (args.json or args.quiet))


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sbp",
        description="Signed propagation against oversmoothing: train on graphs from 2 to 300 steps deep.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--list", action="store_true", help="print models and datasets, as the command list")
    commands = parser.add_subparsers(dest="command", metavar="command")
    one = commands.add_parser("train", allow_abbrev=False, help="one model at one depth, over seeds")
    one.add_argument("--model", required=True, help="one of: " + ", ".join(MODEL_PRESETS))
    one.add_argument("--layers", type=int, default=2, help="propagation steps (default 2)")
    _add_common(one, ablation=True, metrics=False, keep=False)
    many = commands.add_parser("depth", allow_abbrev=False, help="models against depth: tables, figure, CSV, JSON")
    many.add_argument("--models", type=_names, default=_MODELS, metavar="A,B", help=f"default {_MODELS}")
    many.add_argument("--layers", type=_depths, default=_DEPTHS, metavar="N,N", help=f"default {_DEPTHS}")
    _add_common(many, ablation=False, metrics=True, keep=True)
    range_ = commands.add_parser("sweep", allow_abbrev=False, help="models against one setting: table, figure, rows")
    range_.add_argument("--setting", required=True, help="its name, for instance beta, lam, label_ratio or phi")
    range_.add_argument("--values", required=True, type=_names, metavar="V,V", help="its values")
    range_.add_argument("--models", type=_names, default=_MODELS, metavar="A,B", help=f"default {_MODELS}")
    range_.add_argument("--layers", type=int, default=2, help="propagation steps (default 2)")
    _add_common(range_, ablation=None, metrics=False, keep=True)
    theory = commands.add_parser("signed", allow_abbrev=False, help="imbalance, balance and critical beta of a dataset")
    theory.add_argument("--dataset", required=True, help="a name from the command list")
    theory.add_argument("--root", default="data", metavar="DIR", help="folder with the datasets (default data)")
    theory.add_argument("--split", type=int, default=0, metavar="K", help="which split (default 0)")
    theory.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    names = commands.add_parser("list", help="the models and datasets there are")
    names.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _add_common(parser: argparse.ArgumentParser, ablation: bool | None, metrics: bool, keep: bool) -> None:
    yes_no = argparse.BooleanOptionalAction
    parser.add_argument("--dataset", required=True, help="a name from the command list")
    parser.add_argument("--root", default="data", metavar="DIR", help="folder with the datasets (default data)")
    parser.add_argument("--backbone", metavar="|".join(BACKBONES), help="default: the model's first")
    parser.add_argument(
        "--split", type=_split, metavar="K|all", help="which split, or all of them (default 0; all for csbm)"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="how many seeds (default 10; 5 for networks; 1 a csbm draw)"
    )
    parser.add_argument("--first-seed", type=int, metavar="N", help="the first of them (default 42; 0 for networks)")
    if ablation is not None:
        parser.add_argument("--ablation", action=yes_no, default=ablation, help="also run signed models with beta = 0")
    parser.add_argument("--metrics", action=yes_no, default=metrics, help="Dirichlet energy and effective rank")
    parser.add_argument("--out", default="results", metavar="DIR", help="folder for what is kept (default results)")
    parser.add_argument(
        "--keep", action=yes_no, default=keep, help="keep finished runs in --out and go on from those that are there"
    )
    parser.add_argument("--fresh", action="store_true", help="with --keep: run again what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    group = parser.add_argument_group("settings (default: the preset of the model and dataset)")
    for name, option in OPTIONS.items():
        flag = "--" + name.replace("_", "-")
        if option.type is bool:
            group.add_argument(flag, action=yes_no, default=None, help=option.help)
        else:
            metavar = "|".join(option.choices) if option.choices else option.type.__name__.upper()
            group.add_argument(flag, type=option.type, metavar=metavar, help=option.help)


def _split(text: str) -> int | str:
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"must be a number or all, got {text}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas between, got {text}") from None
