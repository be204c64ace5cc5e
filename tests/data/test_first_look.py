"""What ``e3frame check`` looks at unasked: some frames of each split, wherever data are on disk."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from support.springs import springs

from e3frame.cli import main
from e3frame.data.formats import ase_files as frames_module
from e3frame.data.formats import qm9_files
from e3frame.data.formats.ase_files import read_frames
from e3frame.data.pipeline import loader
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.loader import excerpt
from e3frame.data.sources.base import Label
from e3frame.data.sources.sample import SampleSpec
from e3frame.data.sources.xyz import XyzSpec

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
GIVEN = ["check", "data=xyz", "data.path=a.xyz", "model=nequip_small"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 frames of a.xyz, of which the last 40 are of ammonia."""
    folder = tmp_path_factory.mktemp("files")
    write(folder / "a.xyz", [*springs("H2O", 160), *springs("NH3", 40)], format="extxyz")
    (folder / "list.txt").write_text(" ".join(map(str, range(0, 200, 2))))
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred frames are large here."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(loader, "TRAIN", 50)
    monkeypatch.setattr(loader, "OTHERS", 24)


LIST = ["data.split.method=index", "data.split.train_index=list.txt"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.test_path=nonexistent.xyz"], "nonexistent.xyz\n  no such file\n"),
        (["data.val_path=[a.xyz,b.xyz]"], "b.xyz\n  no such file\n  did you mean a.xyz?\n"),
        (["data.split.train=50000"], "a.xyz\n  the split needs 50000 (train) + 20 (val) + 20 (test) frames, "
         "but there are 200\n"),
        (["data.split.val=199", "data.split.test=1"], "a.xyz\n  the split leaves no frame for training: rest (train) "
         "+ 199 (val) + 1 (test) of 200 frames\n"),
        ([LIST[0], "data.split.train_index=nothere.csv"], "nothere.csv\n  cannot be opened: No such file or "
         "directory\n"),
        ([*LIST, "data.split.test=101"], "a.xyz\n  the split needs 101 (test) frames, but there are 100\n"),
        ([*LIST, "data.path=[a.xyz,a.xyz]", "data.split.test_index=400.txt"], "400.txt\n  frame 400 is listed, "
         "but the last frame is 399\n"),
        (["data.split.method=group", "data.split.key=name", "data.split.train=200"], "a.xyz, frame 0\n  no key 'name' "
         "to split by\n  existing keys: energy, forces\n"),
    ],
    ids=range(8),
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["--full"]])
def test_files_and_splits_that_do_not_fit(
    overrides: list[str], message: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick look says what training would."""
    Path("400.txt").write_text("400")
    assert main([*GIVEN, *overrides, *more]) == 1
    assert capsys.readouterr().err == message


def test_some_of_each_split_are_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GIVEN, "data.split.method=random", "data.split.test=30"]) == 0
    out = capsys.readouterr().out
    (held,) = [line for line in out.splitlines() if line.startswith("checked ")]
    train = int(held.split()[1])
    assert held == f"checked {train} of 150 train, 20 of 20 val, 24 of 30 test frames; use --full for all"
    assert 50 < train <= 95


def test_an_element_of_the_test_frames_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether training lacks it, or just the training frames that were looked at."""
    assert main([*GIVEN, "data.split.train=120"]) == 1
    assert capsys.readouterr().err == (
        "a.xyz, frame 180\n  the test frames have N, which no training frame has\n  training frames have H, O\n"
    )
    write("b.xyz", [*springs("H2O", 140), *springs("NH3", 1), *springs("H2O", 40), *springs("NH3", 19)])
    train = np.arange(181)
    assert 140 not in loader.thinned({"train": train, "test": np.arange(181, 200)})["train"]
    assert main([*GIVEN, "data.path=b.xyz", "data.split.val=0", "data.split.test=19"]) == 0
    assert "\nchecked 181 of 181 train, 19 of 19 test frames\n" in capsys.readouterr().out


def test_labels_and_twins_of_the_test_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of its own that lacks a label, has a broken frame, or repeats what is trained."""
    other = springs("H2O", 60, seed=2)
    write("without.xyz", other, columns=["symbols", "positions"], write_results=False, format="extxyz")
    given = [*GIVEN, "data.split.method=random"]
    assert main([*given, "data.test_path=without.xyz"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    told = r"no key 'energy' for the label energy, no key 'forces' for the label forces"
    told = rf"error broken frames 24 of \d+: {told} \(frames 0, 1, 4, 5, \.\.\. of without"
    assert re.search(told, out)
    other[55].positions[1, 2] = np.nan
    write("nan.xyz", other, format="extxyz")
    assert main([*given, "data.test_path=nan.xyz"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"error broken frames 1 of \d+: the position of atom 1 is not finite: \[.*\(frame 55 of nan", out)
    made = springs("CH3OH", 180)
    write("whole.xyz", made[:160], format="extxyz")
    write("copies.xyz", made[140:], format="extxyz")
    assert main([*given, "data.path=whole.xyz", "data.test_path=copies.xyz"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    said = re.search(
        r"warning frames in two splits (\d+) of 24 test frames are also in training \(\1 identical, 0", out
    )
    assert 1 <= int(said[1]) <= 12


def test_neighbours_in_a_trajectory_that_was_divided_at_random() -> None:
    """Few frames of a large set show that each test frame has a neighbour in training."""
    order = np.random.default_rng(0).permutation(100_000)
    train, val, test = (np.sort(part) for part in np.split(order, [80_000, 90_000]))
    parts = {"train": train, "val": val, "test": test}
    few = loader.thinned(parts)
    assert [len(few["val"]), len(few["test"])] == [24, 24]
    assert 80 < len(few["train"]) <= 100
    for name in parts:
        assert np.isin(few[name], parts[name]).all()
        assert (np.diff(few[name]) > 0).all()
    others = np.concatenate([few["val"], few["test"]])
    nearest = np.abs(parts["train"][None] - others[:, None]).min(1)
    assert (np.abs(few["train"][None] - others[:, None]).min(1) == nearest).all()
    time = loader.thinned({"train": np.arange(9_000), "val": np.arange(9_100, 9_600)})
    assert (np.diff(time["train"]) == 1).sum() >= 25  # pairs
    assert time["train"][-1] == 8_999


def test_groups_stay_together() -> None:
    made = springs("H2O", 200)
    for k, atoms in enumerate(made):
        atoms.info["name"] = f"m{k // 5}"
    write("groups.xyz", made, format="extxyz")
    labels, split = {"energy": Label("graph")}, {"method": "group", "key": "name"}
    splits, totals = excerpt(XyzSpec(path="groups.xyz", split=split), 4.0, labels)
    assert totals == {"train": 160, "val": 20, "test": 20}
    sets = dict(splits.items())
    assert sum(map(len, sets.values())) == 50
    train, val, test = ({frame // 5 for frame in sets[name].stacked("frame").tolist()} for name in totals)
    assert train
    assert val
    assert test
    assert not train & val | train & test | val & test
    for k, atoms in enumerate(made):
        atoms.info["name"] = f"m{int(k == 101)}"
    write("groups.xyz", made, format="extxyz")  # the look does not see the second group
    splits, totals = excerpt(XyzSpec(path="groups.xyz", split=split | {"test": 0}), 4.0, labels)
    assert sum(totals.values()) == 200
    assert len(splits.train) == 199


@pytest.mark.parametrize("suffix", ["xyz", "traj"])
def test_frames_between_are_not_read(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long file a look reads what it takes, the same as all."""
    made = springs("H2O", 120)
    for k, atoms in enumerate(made):
        atoms.info["number"] = k
    write(f"c.{suffix}", made)
    whole = list(read_frames(f"c.{suffix}", None))
    monkeypatch.setattr(frames_module, "iread", None)
    wanted = [0, 1, 40, 41, 119]
    few = list(read_frames(f"c.{suffix}", None, wanted))
    assert [frame for frame, _ in few] == wanted
    for frame, atoms in few:
        assert atoms == whole[frame][1]
        assert atoms.info == whole[frame][1].info
        assert atoms.get_potential_energy() == whole[frame][1].get_potential_energy()
        assert (atoms.get_forces() == whole[frame][1].get_forces()).all()


def test_the_embedded_data_are_looked_at(splits: Splits, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model=nequip_small", "data=sample"]) == 0
    out = capsys.readouterr().out
    assert "the forces are the negative gradient" in out
    few, totals = excerpt(SampleSpec(), 4.0, LABELS)
    said = ", ".join(f"{len(dataset)} of {totals[name]:,} {name}" for name, dataset in few.items())
    assert out.endswith(f"\nchecked {said} frames; use --full for all\n")
    assert totals == {"train": 1800, "val": 200, "test": 400}
    for name, dataset in few.items():
        whole = getattr(splits, name)
        place = whole.stacked("frame").tolist()
        assert 20 < len(dataset) < 60
        for graph in dataset:
            twin = whole[place.index(int(graph.frame))]
            for key in ("pos", "z", "energy", "forces", "edge_index"):
                assert graph[key].equal(twin[key])


def test_data_that_are_not_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not fetched unasked, and that is said."""
    said = "\ndata not checked: {}\n"
    later = "not downloaded yet; --full downloads and checks everything"
    for data in (["data=md17", "data.molecule=ethanol"], ["data=rmd17", "data.molecule=ethanol"]):
        assert main(["check", "model=nequip_small", *data]) == 0
        assert capsys.readouterr().out.endswith(said.format(later))
    assert main(["check", "experiment=qm9_gap", "data.source=pyg"]) == 0
    assert capsys.readouterr().out.endswith(said.format(later))
    monkeypatch.setattr(qm9_files, "find_spec", lambda name: None)
    assert main(["check", "experiment=qm9_gap"]) == 0
    assert capsys.readouterr().out.endswith(said.format("the package qm9pack is not installed"))
    assert main(["check", "experiment=qm9_gap", "--full"]) == 1
    assert main(["check", "experiment=qm9_gap", "--no-data"]) == 0
    assert "not checked" not in capsys.readouterr().out


def test_raw_files_that_are_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = springs("CH3CH2OH", 300)
    kcal = 23.060548
    folder = tmp_path / "ethanol" / "raw"
    folder.mkdir(parents=True)
    np.savez(
        folder / "md17_ethanol.npz",
        E=np.array([[atoms.get_potential_energy() * kcal] for atoms in made]),
        F=np.array([atoms.get_forces() * kcal for atoms in made]),
        R=np.array([atoms.positions for atoms in made]),
        z=molecule("CH3CH2OH").numbers,
    )
    split = ["data.split.train=150", "data.split.test=100"]
    given = ["model=nequip_small", "data=md17", "data.molecule=ethanol", f"data.root={tmp_path}", *split]
    assert main(["check", *given]) == 0
    out = capsys.readouterr().out
    assert "the forces are the negative gradient" in out
    assert out.endswith(" of 150 train, 24 of 50 val, 24 of 100 test frames; use --full for all\n")
