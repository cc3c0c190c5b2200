"""The parser of the command line. This module does not import torch."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from ..config import OPTIONS, Option
from ..paper.tables import PLANS
from ..presets import BACKBONES, MODEL_PRESETS

_MODELS, _DEPTHS = "sgc,label-sbp", "2,10,50,100,300"
_EXAMPLES = """\
examples:
  python -m sbp_study train --dataset karate --model label-sbp          no files needed
  python -m sbp_study train --dataset cora --model label-sbp --layers 2 --root data
  python -m sbp_study depth --dataset cora --models sgc,label-sbp --layers 2,10,50,100,300 --root data
  python -m sbp_study depth --dataset csbm --models sgc,label-sbp,feature-sbp --layers 2,10,50,200
  python -m sbp_study signed --dataset csbm                             imbalance and balance of its signed graphs
  python -m sbp_study reproduce table10                                 a table of the paper: paper, ours, difference
  python -m sbp_study list                                              models and datasets

Settings that are not given come from presets of the model and dataset; `train --help` lists them.
`sbp-study` is the same command as `python -m sbp_study`.
Datasets are read from --root in the layout of PyG (root/Cora/raw/...), or downloaded there.
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one sentence on stderr."""

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse ignores a closed pipe and a full disk; this version raises, and `ExitHandler` reports it.
        print(message, end="", file=file or sys.stderr)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and report unknown flags here: the parser of a command knows its flags, the one above it does not."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = (word.partition("=")[0] for word in unknown if word.startswith("-"))
            hints = (nearest(flag, self._option_string_actions) for flag in flags)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{next(filter(None, hints), '')}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        if wrong:
            message += nearest(wrong[1], (str(c) for action in self._actions for c in action.choices or ()))
        self.exit(2, f"error: {' '.join(message.split())}\n")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" with the nearest of the known names, or an empty string."""
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="python -m sbp_study",
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
    range_ = commands.add_parser("sweep", allow_abbrev=False, help="models against a setting: table, figure, CSV, JSON")
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
    _add_reproduce(commands.add_parser("reproduce", allow_abbrev=False, help="a table or figure of the paper"))
    names = commands.add_parser("list", allow_abbrev=False, help="the available models and datasets")
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
        "--seeds", type=int, metavar="N", help="number of seeds (default 10; 5 for networks; 1 per csbm graph)"
    )
    parser.add_argument("--first-seed", type=int, metavar="N", help="the first seed (default 42; 0 for networks)")
    if ablation is not None:
        parser.add_argument("--ablation", action=yes_no, default=ablation, help="also run signed models with beta = 0")
    parser.add_argument("--metrics", action=yes_no, default=metrics, help="Dirichlet energy and effective rank")
    parser.add_argument("--out", default="results", metavar="DIR", help="output folder (default results)")
    parser.add_argument(
        "--keep", action=yes_no, default=keep, help="save finished runs in --out and reuse the saved ones"
    )
    parser.add_argument("--fresh", action="store_true", help="with --keep: ignore and replace the saved runs")
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


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.description = "Reproduce a table or figure of arXiv 2502.11394: paper, ours and their difference."
    parser.add_argument("name", choices=PLANS, metavar="NAME", help=", ".join(PLANS))
    parser.add_argument("--datasets", type=_names, default=(), metavar="A,B", help="only these of its datasets")
    parser.add_argument("--layers", type=_depths, default=(), metavar="N,N", help="other depths, if it has depths")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds (default 10; 5 for networks; 1 per csbm graph)")
    parser.add_argument("--learn", action="store_true", help="also SBP with learned alpha, beta and lam")
    parser.add_argument("--all", action="store_true", help="also run cells that exceed the stated size limit")
    parser.add_argument("--quick", action="store_true", help="a trial: 2 epochs, 1 seed, 1 split on synthetic graphs")
    parser.add_argument("--root", default="data", metavar="DIR", help="folder with the datasets (default data)")
    parser.add_argument("--out", default="results", metavar="DIR", help="output folder (default results)")
    parser.add_argument("--fresh", action="store_true", help="ignore and replace the saved runs in --out")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def value_of(option: Option | None, text: str) -> Any:
    """Convert the text of a setting to its type; raise ValueError if that is not possible."""
    if option is None or option.type is str:
        return text
    if option.type is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return option.type(text)


def _split(text: str) -> int | str:
    if text == "all" or (text.isdecimal() and len(text) < 10):
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"must be a number or all, got {text or 'nothing'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _depths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas between, got {text or 'nothing'}") from None
