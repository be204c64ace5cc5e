"""Errors of a saved model: ``python scripts/evaluate.py model=FILE data=xyz data.path=test.xyz``."""

import sys

from e3frame.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("evaluate", sys.argv[1:]))
