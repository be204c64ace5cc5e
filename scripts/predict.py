"""Energies and forces for the structures of a file: ``python scripts/predict.py model=FILE path=new.xyz``."""

import sys

from e3frame.cli import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("predict", sys.argv[1:]))
