"""Environment variables that choose kernels: a wrong value is the same line everywhere, before any work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import e3frame
from e3frame.cli import VERBS, main, run_verb

WRONG = {
    "E3FRAME_BACKEND": (
        "fast",
        "E3FRAME_BACKEND must be one of auto, native, cuequivariance, reference; got 'fast'\n"
        "  the backend of a plugin is known once the plugin is named: plugins=NAME",
    ),
    "E3FRAME_ISA": ("avx\x1b1024", "E3FRAME_ISA must be one of base, avx2, avx512; got 'avx\\x1b1024'"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", WRONG)
def test_every_verb(name: str, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    value, message = WRONG[name]
    monkeypatch.setenv(name, value)
    for call in (lambda: main([verb, "nothing.yaml"]), lambda: run_verb(verb, ["nothing.yaml"])):
        code, written = call(), capsys.readouterr()
        assert (code, written.out, written.err) == (1, "", message + "\n")


def test_help_needs_no_kernels(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("E3FRAME_BACKEND", "fast")
    assert main(["--help"]) == main(["--version"]) == 0
    assert "usage: e3frame" in capsys.readouterr().out


def test_nothing_is_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name in WRONG:
        monkeypatch.setenv(name, "")
    assert main(["irreps", "1o"]) == 0


def test_importing_what_runs_kernels() -> None:
    value, message = WRONG["E3FRAME_ISA"]
    environment = {**os.environ, "E3FRAME_ISA": value, "PYTHONPATH": str(Path(e3frame.__file__).parents[1])}
    script = (
        "from e3frame.spec.errors import UserError\n"
        "for call in ('from e3frame import o3', 'import e3frame; e3frame.load_model', 'import e3frame.kernels'):\n"
        "    try:\n        exec(call)\n"
        "    except UserError as error:\n        print(error)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == 3 * f"{message}\n", done.stderr
