"""Search over hyperparameters: ``python scripts/sweep.py sweep=sample``; ``--help`` says more."""

import sys

from e3frame.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("sweep", sys.argv[1:]))
