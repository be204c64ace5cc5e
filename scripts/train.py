"""Train a model: ``python scripts/train.py model=nequip data=sample``; ``--help`` says more."""

import sys

from e3frame.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("train", sys.argv[1:]))
