"""The page of a run: whole, alone, and true."""

from __future__ import annotations

import base64
import platform
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from support.runs import Finished

import e3frame
from e3frame import load_model
from e3frame.run.page import command
from e3frame.run.report import compared
from e3frame.spec.words import rounded
from e3frame.viz.html import Card, folded, page, table
from e3frame.viz.training import parity

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects text and attributes; every tag must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def text(finished: Finished) -> str:
    return (finished.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_the_page_needs_no_network(text: str, read: Reader) -> None:
    assert len(read.sources) == 4  # learning curves, energy, forces, and these by species
    for source in read.sources:
        head, data = source.split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)
    assert len(text) < 1_000_000


def test_the_worst_frames_are_named(finished: Finished, read: Reader) -> None:
    test = finished.result.errors["test"]
    for name in ("energy", "forces"):
        errors = test.frame_errors[name]
        assert errors.shape == (200,)
        worst = int(errors.argmax())
        file, frame = test.places[worst]
        row = next(
            row for row in read.rows if row[:2] == [file, str(frame)] and row[3] == rounded(float(errors[worst]), 4)
        )
        assert row[2] in ("C2H6O", "C4H4O")


def test_errors_of_frames_are_their_own(finished: Finished) -> None:
    """The mean square over frames of one size is that over all entries."""
    test = finished.result.errors["test"]
    assert test.atoms.unique().numel() == 1
    for name in ("energy", "forces"):
        rmse = test.frame_errors[name].square().mean().sqrt()
        assert float(rmse) == pytest.approx(test.errors[name].shown[1], rel=1e-9)
    assert torch.equal(test.composition.sum(1).long(), test.atoms)


def test_the_page_says_what_was_trained_on_what(finished: Finished, read: Reader) -> None:
    words = " ".join(read.words)
    for step in finished.config.model.typed().steps:
        assert any(row[:2] == [step.binding.key, step.spec.kind] for row in read.rows)
    for expected in (
        "run",
        "3 epochs (15 steps)",
        "seed 0",
        "H, C, O",
        str(datetime.now().year),
        f"e3frame {e3frame.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        command(),
        "energy R², test",
        "the whole config",
        "max_epochs",
    ):
        assert expected in words
    forces = finished.result.errors["test"].errors["forces"]
    assert list(forces.by_species) == ["H", "C", "O"]
    assert ["H", *(rounded(forces.by_species["H"][key], 4) for key in ("mae", "rmse"))] in read.rows
    assert any(row[0] == "train" and row[1] == "40" for row in read.rows)
    assert ["energy", "label", "eV"] in [row[:3] for row in read.rows]
    assert "missing labels" not in words


def test_text_is_escaped() -> None:
    written = page("a<b>", "x & y", [Card("1", "<u>", "w")], {"<h>": table(["<k>"], [["<v>"]]) + folded("<s>", "<p>")})
    words = Reader(written).words
    for text in ("a<b>", "x & y", "<u>", "<h>", "<k>", "<v>", "<s>", "<p>"):
        assert text in "".join(words)


def test_the_command_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "e3frame").touch()
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    for given, shown in (
        (["/opt/bin/python3.11", str(tmp_path / "e3frame"), "train", "model=a b"], "e3frame train 'model=a b'"),
        (["/opt/bin/python3.11", "train.py", "model=nequip"], "python train.py model=nequip"),
        (["/opt/bin/python3.11", "-m", "e3frame.cli", "train"], "python3.11 -m e3frame.cli train"),
    ):
        monkeypatch.setattr("sys.orig_argv", given)
        assert command() == shown


def test_the_parity_of_energies_says_what_is_subtracted(finished: Finished) -> None:
    config = finished.config.replace(model=load_model(finished.result.model).spec)
    test = finished.result.errors["test"]
    energy, forces = (compared(name, test, config) for name in ("energy", "forces"))
    assert (energy.less, energy.unit, forces.less, forces.unit) == ("reference energies", "eV/atom", "", "eV/Å")
    left = parity(energy, "energy").axes[0]
    assert left.get_xlabel() == "label − reference energies (eV/atom)"
    assert left.get_ylabel() == "prediction − reference energies (eV/atom)"
    assert abs(energy.labels).max() < 1  # of some 17,000 eV


def test_a_wide_table_does_not_widen_the_page(text: str) -> None:
    assert re.search(r"main { max-width: 900px", text)
    assert re.search(r"\.wide { overflow-x: auto; }", text)
    assert max(map(int, re.findall(r'<img alt="[^"]*" width="(\d+)"', text))) <= 900 - 2 * 28
