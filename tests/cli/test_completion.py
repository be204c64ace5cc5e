"""Completion in a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e3frame.cli import VERBS, main
from e3frame.cli.completion import candidates


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "md.xyz").touch()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "runs").mkdir()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("e3frame pre", ["predict"]),
        ("e3frame train mod", ["model.", "model="]),
        ("e3frame train model=neq", ["model=nequip", "model=nequip_small"]),
        ("e3frame train model=mi", ["model=mine.yaml"]),
        ("e3frame check seed=1 data=md", ["data=md.xyz", "data=md17"]),
        ("e3frame train trainer.max_e", ["trainer.max_epochs="]),
        ("e3frame train model=tfn model.layers.rad", ["model.layers.radial."]),
        ("e3frame train model=oops model.r_", ["model.r_max="]),
        ("e3frame train ru", ["runs/"]),
        ("e3frame layers conv", ["convolution"]),
        ("e3frame predict path=m", ["path=md.xyz", "path=mine.yaml"]),
        ("e3frame completion ", ["bash", "fish", "zsh"]),
        ("e3frame nothing x", []),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


def test_verbs() -> None:
    assert candidates("e3frame ") == sorted(VERBS)
    assert "sweep=" in candidates("e3frame sweep ")
    assert "sweep=" not in candidates("e3frame train ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "e3frame completion --words" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "-c", script] if shell != "fish" else ["fish", "-c", script], check=True)


def test_bash_completes_after_an_equals_sign() -> None:
    """Bash breaks words at =, and takes what comes after it."""
    script = f"""
        e3frame() {{ {sys.executable} -m e3frame.cli "$@"; }}
        eval "$(e3frame completion bash)"
        for COMP_LINE in 'e3frame train model=neq' 'e3frame train trainer.max_e' 'e3frame tra'; do
            COMP_POINT=${{#COMP_LINE}}
            _e3frame 2>/dev/null
            echo "${{COMPREPLY[*]}}"
        done
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["nequip nequip_small", "trainer.max_epochs=", "train"]


def test_a_shell_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 1
    assert capsys.readouterr().err == "e3frame completion\n  name a shell: bash, zsh, fish\n"
