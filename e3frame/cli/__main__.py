"""``python -m e3frame.cli``."""

from e3frame.cli import main

raise SystemExit(main())
