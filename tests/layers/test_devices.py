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

NAMES = list(elsewhere.cases())


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
    assert len([name for name in NAMES if name.startswith("model")]) >= 18


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_stays_on_its_device(name: str, failed: dict[str, str]) -> None:
    assert not failed[name], failed[name]


def test_another_device_is_noticed() -> None:
    """The device ``elsewhere`` tells mixtures, without which the tests above would say nothing."""
    script = (
        "import torch\n"
        "from support.elsewhere import Place, _setup_privateuseone_for_python_backend as known\n"
        "known('elsewhere')\n"
        "place = Place('elsewhere')\n"
        "x = place.put(torch.ones(3, requires_grad=True))\n"
        "with place.mode:\n"
        "    (slope,) = torch.autograd.grad(x.square().sum(), x)\n"
        "    assert slope.device.type == 'elsewhere'\n"
        "    for mixed in (lambda: x + torch.ones(3), lambda: x.index_select(0, torch.zeros(1, dtype=torch.long))):\n"
        "        try:\n            mixed()\n"
        "        except RuntimeError as error:\n            print(type(error).__name__)\n"
    )
    folders = [str(Path(e3frame.__file__).parents[1]), str(Path(elsewhere.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout == 2 * "FakeTensorDeviceMismatchError\n", done.stderr
