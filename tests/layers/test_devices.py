"""A whole training step, derivatives included, on devices other than the CPU; see ``support/elsewhere.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import elsewhere

import e3frame

NAMES = [elsewhere.TOGETHER, *elsewhere.cases()]


@pytest.fixture(scope="module")
def failed() -> dict[str, str]:
    """The traceback of each case, empty if it succeeded."""
    environment = {**os.environ, "PYTHONPATH": str(Path(e3frame.__file__).parents[1])}
    command = [sys.executable, elsewhere.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cases_were_found() -> None:
    assert len([name for name in NAMES if name.startswith("layer")]) >= 20
    assert len([name for name in NAMES if name.startswith("model")]) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_stays_on_its_device(name: str, failed: dict[str, str]) -> None:
    assert not failed[name], failed[name]
