"""``python -m e3frame.cli``."""

import sys
from pathlib import Path

from e3frame import version
from e3frame.cli import main

# Python searches the current folder first, where a yaml.py that somebody sent would hide the library.
if not sys.flags.safe_path and Path(sys.path[0]) != Path(version.__file__).parents[1]:
    del sys.path[0]

raise SystemExit(main())
