"""`python -m sbp`."""

import sys

from .ending import Ending

ending = Ending()
ending.catch_signals()
with ending:
    from .cli import main

    main(ending=ending)
ending.ignore_signals()
sys.exit(ending.status)
