"""``scripts/check_gpu.py`` as far as it goes without a GPU: a trial on the CPU, and that it finds a difference."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from e3frame import kernels

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "check_gpu.py"))
SMALL = ["--device", "cpu", "--rows", "3", "--large", "3", "--epochs", "1"]


def run(arguments: list[str], **changes: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setitem(SCRIPT["main"].__globals__, name, value)
        return SCRIPT["main"](arguments)


def test_a_trial_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SMALL) == 0
    text = capsys.readouterr().out
    assert all(case.name in text for case in SCRIPT["CASES"])
    assert "training in float64" in text
    assert text.endswith("all agree\n")


def test_every_operator_has_a_case() -> None:
    """The names of operators, less the one that only saves work."""
    names = {case.name.replace(" ", "_").partition(",")[0] for case in SCRIPT["CASES"]}
    others = {"perceptron": "activation", **{name: "product" for name in names if name.startswith("product")}}
    assert {others.get(name, name) for name in names} == set(kernels.backends.OPERATORS) - {"pairs"}


def test_a_difference_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kernels.register(kernels.Backend("wrong", {"linear": _wrong}))
    cases = [case for case in SCRIPT["CASES"] if case.name == "linear"]
    try:
        assert run(SMALL, CASES=cases, check_training=lambda *_: []) == 1
    finally:
        kernels.backends.unregister("wrong")
    text = capsys.readouterr().out
    assert "differs: linear, wrong, torch.float64\n" in text
    assert "linear, native" not in text
    assert "linear, reference" not in text


def _wrong(x: torch.Tensor, w: torch.Tensor | None, b: torch.Tensor | None, plan: Any) -> torch.Tensor:
    return kernels.reference.linear(x, w, b, plan) * (1 + 1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert capsys.readouterr().out == (
        "no device cuda on this machine, nothing was checked; --device cpu tries this program\n"
    )
