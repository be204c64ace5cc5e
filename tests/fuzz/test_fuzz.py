"""Some cases of every fuzzer; ``scripts/fuzz.py`` runs more of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from support.fuzzing import Area, Case, Outcome, fuzz, judge, run_apart

AREAS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("test_", "_")))


@pytest.mark.parametrize("name", AREAS)
def test_damaged_input_ends_in_a_message(name: str, tmp_path: Path) -> None:
    area = import_module(f"fuzz.{name}").AREA
    results = list(fuzz(area, range(area.cases), seed=0, folder=tmp_path))
    failures = [failure for failure in results if failure is not None]
    assert len(results) == area.cases > 0
    assert not failures, "\n".join(f"{f.number}: {f.case}: {f.problem}\n{f.output}" for f in failures)
    assert not list(tmp_path.iterdir())


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
