"""The verbs ``irreps`` and ``draw``: what they print and write, and what they say of mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from e3frame.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def rows(text: str) -> list[list[str]]:
    """The words of each line that is not a rule."""
    return [line.split() for line in text.splitlines() if line.strip() and "──" not in line]


def test_the_table_of_products(capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "irreps", "2x0e+3x1o", "x", "5x0e+7x1e")
    assert code == 0
    assert rows(out) == [
        ["⊗", "5x0e", "7x1e"],
        ["2x0e", "10x0e", "14x1e"],
        ["3x1o", "15x1o", "21x0o", "+", "21x1o", "+", "21x2o"],
        ["2x0e", "+", "3x1o", "⊗", "5x0e", "+", "7x1e", "gives"],
        ["21x0o", "+", "10x0e", "+", "36x1o", "+", "14x1e", "+", "21x2o", "dim", "286,", "102", "irreps,", "lmax", "2"],
    ]


def test_products_of_several(capsys: pytest.CaptureFixture[str]):
    _, out, _ = run(capsys, "irreps", "1o", "x", "1o", "⊗", "1o")
    assert out.count("gives") == 2
    assert "1x0o + 3x1o + 2x2o + 1x3o  dim 27, 7 irreps, lmax 3" in out


def test_the_terms_of_irreps(capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "irreps", "3x1o", "+", "2x0e")
    assert code == 0
    assert rows(out)[1:] == [
        ["3x1o", "3", "1", "odd", "9", "0:9"],
        ["2x0e", "2", "0", "even", "2", "9:11"],
        ["3x1o", "+", "2x0e", "dim", "11,", "5", "irreps,", "lmax", "1"],
        ["sorted", "and", "merged:", "2x0e", "+", "3x1o"],
    ]
    assert "sorted" not in run(capsys, "irreps", "2x0e+3x1o")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["irreps", "1o", "x", "4x1"], "expected parity e or o after '1'\n  4x1\n     ^"),
        (["irreps", "1o + 1q"], "expected parity e or o after '1'\n  1o + 1q\n        ^"),
        (["irreps", "1o", "x"], "factor 2 of '1o x' is missing: write irreps on both sides of each x"),
        (["irreps", "0x1e"], "'0x1e' is empty; write at least one irrep, such as 16x0e"),
        (["draw", "tp", "1o", "3y+", "1o"], "in2: expected an irrep such as 1o or 8x1o after '+'\n  3y+\n     ^"),
        (["draw", "tp", "1o", "1o", "1o", "1o"], "a fully_connected product needs 3 irreps, got 4: 1o 1o 1o 1o"),
        (["draw", "tp", "1o", "--product", "full"], "a full product needs 2 or 3 irreps, got 1: 1o"),
        (
            ["draw", "tp", "1o", "2x1o", "--product", "elementwise"],
            "an elementwise product needs equally many irreps in both inputs: 1x1o has 1, 2x1o has 2",
        ),
        (["draw", "tp", "1o", "1o", "-o", "tp.bmp"], "tp.bmp: the file name must end in .png, .svg or .pdf"),
        (["draw", "tp", "1o", "1o", "-o", "no/tp.png"], "no/tp.png: there is no folder no"),
        (
            ["draw", "errors", "nowhere"],
            "nowhere\n  no such file",
        ),
        (["draw", "sh", "1o+2o"], "spherical harmonics of 1x1o cannot be 2o; degree 2 is 2e"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, *arguments) == (1, "", message + "\n")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["5x0e+5x1e", "6x0e+4x1e", "15x0e+3x1e"],
        ["2x0e+3x1o", "5x0e+7x1e"],
        ["2x0e+3x1o", "5x0e+7x1e", "0e+1o", "--product", "full"],
        ["5x0e+5x1e", "4x0e+6x1e", "--product", "elementwise"],
        ["5x1e+2e"],
        ["5x1e+2e", "3x0e", "--product", "square"],
        ["8x0e+8x1o", "0e+1o", "--product", "convolution"],
    ],
)
def test_draws_every_product(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path):
    path = tmp_path / "tp.png"
    assert run(capsys, "draw", "tp", *arguments, "-o", str(path), "--dpi", "40") == (0, f"{path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("irreps", "suffix"), [("1", "png"), ("2e", "png"), ("0e + 1o", "svg"), ("1", "pdf")])
def test_draws_harmonics(irreps: str, suffix: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    path = tmp_path / f"sh.{suffix}"
    assert run(capsys, "draw", "sh", irreps, "-o", str(path), "--dpi", "30")[0] == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ["tp", "2x0e+1o", "-o", "a.svg", "--product", "full", "1o"],
        ["tp", "--product=full", "2x0e+1o", "1o", "-oa.svg"],
        ["--product", "full", "tp", "2x0e+1o", "-o", "a.svg", "1o"],
        ["-o", "a.svg", "tp", "2x0e+1o", "--product", "full", "1o"],
    ],
)
def test_options_stand_anywhere(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "draw", *arguments) == (0, "a.svg\n", "")
    assert "FullTensorProduct" in Path("a.svg").read_text()


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_only_our_own_pictures_are_drawn_over(suffix: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    path = tmp_path / f"sh.{suffix}"
    arguments = ["draw", "sh", "1", "-o", str(path), "--dpi", "30"]
    path.write_bytes(b"a picture of somebody else's")
    hint = f"{path} exists\n  choose another name, or --overwrite to replace it\n"
    assert run(capsys, *arguments) == (1, "", hint)
    assert path.read_bytes() == b"a picture of somebody else's"
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    drawn = path.read_bytes()
    assert run(capsys, *arguments)[0] == 0
    assert len(path.read_bytes()) == len(drawn)
    assert list(tmp_path.iterdir()) == [path]


def finished_run(folder: Path, frames: int, mae: float) -> str:
    folder.mkdir()
    target = {"irreps": "0e", "per": "graph", "key": "U0"}
    (folder / "config.yaml").write_text(json.dumps({"task": {"targets": {"energy": target}}}))
    metrics = {"train": {"frames": frames}, "test": {"energy": {"unit": "meV", "mae": mae}}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


def test_draws_errors_of_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    runs = [finished_run(tmp_path / f"{n}", n, 80.0 * n**-0.5) for n in (100, 400, 1600)]
    path = tmp_path / "errors.png"
    assert run(capsys, "draw", "errors", *runs, "-o", str(path), "--dpi", "40") == (0, f"{path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_both_verbs_run_without_torch(tmp_path: Path):
    script = f"""
import sys
from e3frame.cli import main
assert main(["irreps", "1o", "x", "1o"]) == 0
assert main(["draw", "tp", "1o", "1o", "-o", {str(tmp_path / "tp.png")!r}]) == 0
sys.exit("torch" in sys.modules or "matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
