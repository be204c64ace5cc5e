"""Some cases of every fuzzer; ``scripts/fuzz.py`` runs more of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.fuzzing import Area, Case, Outcome, judge, run_apart

ROOT = Path(__file__).parents[2]
AREAS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("test_", "_")))


@pytest.mark.parametrize("name", AREAS)
def test_damaged_input_ends_in_a_message(name: str, tmp_path: Path) -> None:
    """In a process of its own: what the cases share changes the process that makes it."""
    cases = import_module(f"fuzz.{name}").AREA.cases
    assert cases > 0
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), name, "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert re.search(rf"^{name}: {cases} cases, seed 0, \d+ s, 0 failures$", done.stdout, re.MULTILINE)
    assert not list(tmp_path.glob("fuzz-*"))


def _say(text: str, code: int = 1) -> int:
    print(text)
    return code


def _loop() -> int:
    while True:
        pass


def _abort() -> int:
    import os

    os.abort()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: _say("model.yaml:3:4  layers.a\n  wrong"), None),
        (lambda: _say("fine", 0), None),
        (lambda: _say("it is wrong"), "a message without a place"),
        (lambda: _say("a.yaml\n" * 13), "a message of 13 lines"),
        (lambda: _say("a.yaml \x1b[31m"), "control characters in the output"),
        (lambda: _say(""), "no message"),
        (lambda: _say("a.yaml", 3), "exit code 3"),
        (lambda: 1 // 0, "a traceback"),
        (lambda: len(bytearray(1 << 40)), "a traceback"),
        (_loop, "no answer within 5 s of CPU"),
        (_abort, "died of SIGABRT"),
    ],
)
def test_the_fuzzer_sees_what_is_wrong(call, problem, tmp_path: Path) -> None:
    area = Area("test", prepare=lambda folder: None, case=lambda *_: Case("", lambda: 0))
    outcome = run_apart(call, tmp_path)
    assert isinstance(outcome, Outcome)
    assert judge(area, outcome) == problem
