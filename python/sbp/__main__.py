"""`python -m sbp`."""

import sys
import warnings

from .ending import Ending

ending = Ending()
with ending:
    ending.catch_signals()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    from .cli import main

    main(ending=ending)
ending.ignore_signals()
sys.exit(ending.status)
