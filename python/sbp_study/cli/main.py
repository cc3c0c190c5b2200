"""The entry point of `sbp-study` and `python -m sbp_study`."""

from __future__ import annotations

import sys
import warnings

from .exit_handler import ExitHandler


def run() -> None:
    """Run the command line of this process and exit with its status."""
    exit_handler = ExitHandler()
    with exit_handler:
        exit_handler.catch_signals()
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        # Imported here, so that signals and missing packages are reported in one line.
        from .commands import main

        main(exit_handler=exit_handler)
    exit_handler.ignore_signals()
    sys.exit(exit_handler.status)
