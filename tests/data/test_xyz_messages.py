"""What is said of files that cannot be used: each message in full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.errors import DataError

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
WATER = "{count}\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\n"
ROWS = ("O 0 0 0 0 0 1\n", "H 0 0 1 0 0 0\n", "H 0 1 0 0 0 -1\n")
FRAME = WATER.format(count=3) + "".join(ROWS)


def assert_says(error: DataError, message: str) -> None:
    """The whole message; "…" stands for a reason in ASE's words."""
    start, ellipsis, _ = message.partition("…")
    assert str(error)[: len(start)] == start
    assert bool(ellipsis) == (len(str(error)) > len(start))


def changed(**results: object) -> Callable[[list[Atoms]], None]:
    """Set or delete (None) results of frame 4."""

    def change(frames: list[Atoms]) -> None:
        kept = {**frames[4].calc.results, **results}
        frames[4].calc = SinglePointCalculator(frames[4], **{k: v for k, v in kept.items() if v is not None})

    return change


def renamed(result: str, name: str | None) -> Callable[[list[Atoms]], None]:
    """A result of all frames is a key of another name, or nowhere (None)."""

    def change(frames: list[Atoms]) -> None:
        for atoms in frames:
            value = atoms.calc.results.pop(result)
            if name is not None:
                (atoms.info if np.ndim(value) == 0 else atoms.arrays)[name] = value

    return change


def moved(value: float) -> Callable[[list[Atoms]], None]:
    def change(frames: list[Atoms]) -> None:
        frames[4].positions[2, 0] = value

    return change


def replaced(atoms: Atoms) -> Callable[[list[Atoms]], None]:
    def change(frames: list[Atoms]) -> None:
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
        frames[4] = atoms

    return change


def in_info(key: str, value: object) -> Callable[[list[Atoms]], None]:
    def change(frames: list[Atoms]) -> None:
        for atoms in frames:
            atoms.info[key] = value

    return change


FRAMES_AND_MESSAGES = {
    "forces missing in one frame": (
        changed(forces=None), {},
        "train.xyz, frame 4\n  no key 'forces' for the label forces\n  existing keys: energy; "
        "if some frames lack it: data.allow_missing=[forces]",
    ),
    "energy missing in one frame": (
        changed(energy=None), {},
        "train.xyz, frame 4\n  no key 'energy' for the label energy\n  existing keys: forces; "
        "if some frames lack it: data.allow_missing=[energy]",
    ),
    "nothing but positions": (
        changed(energy=None, forces=None), {},
        "train.xyz, frame 4\n  no key 'energy' for the label energy, no key 'forces' for the label forces\n"
        "  the frame has no keys; if some frames lack them: data.allow_missing=[energy,forces]",
    ),
    "both of other names": (
        lambda frames: (renamed("energy", "PBE")(frames), renamed("forces", "F_dft")(frames)), {},
        "train.xyz, frame 0\n  no key 'energy' for the label energy, no key 'forces' for the label forces\n"
        "  existing keys: F_dft, PBE; did you mean data.keys.energy=PBE data.keys.forces=F_dft?",
    ),
    "no forces at all": (
        renamed("forces", None), {},
        "train.xyz, frame 0\n  no key 'forces' for the label forces\n"
        "  existing keys: energy; to train without it: task=energy",
    ),
    "neither energies nor forces, and a stress": (
        lambda frames: [atoms.calc.results.clear() for atoms in frames],
        {"keys": {"energy": "energy", "forces": "forces", "stress": "stress"}},
        "train.xyz, frame 0\n  no key 'energy' for the label energy, no key 'forces' for the label forces\n"
        "  the frame has no keys; to train without it: task=energy; if some frames lack it: "
        "data.allow_missing=[energy]",
    ),
    "forces of another name": (
        renamed("forces", "F_dft"), {},
        "train.xyz, frame 0\n  no key 'forces' for the label forces\n"
        "  existing keys: F_dft, energy; did you mean data.keys.forces=F_dft?",
    ),
    "energies of another name": (
        renamed("energy", "PBE"), {},
        "train.xyz, frame 0\n  no key 'energy' for the label energy\n"
        "  existing keys: PBE, forces; did you mean data.keys.energy=PBE?",
    ),
    "wrong key": (
        in_info("REF_energy", -1.0), {"keys": {"energy": "REF_energi", "forces": "forces"}},
        "train.xyz, frame 0\n  no key 'REF_energi' for the label energy\n"
        "  existing keys: REF_energy, energy, forces; did you mean data.keys.energy=REF_energy?",
    ),
    "energy NaN": (
        changed(energy=float("nan")), {}, "train.xyz, frame 4\n  energy is not finite: nan",
    ),
    "forces inf": (
        changed(forces=np.where(np.arange(18).reshape(6, 3) == 4, np.inf, 0.5)), {},
        "train.xyz, frame 4\n  forces of atom 1 is not finite: [0.5, inf, 0.5]",
    ),
    "forces beyond all sizes": (
        in_info("f", np.full((6, 3), 1e300)), {"keys": {"energy": "energy", "forces": "f"}},
        "train.xyz, frame 0\n  f of atom 0 is [1e+300, 1e+300, 1e+300]: too large for a label",
    ),
    "a vector where a number is needed": (
        in_info("e", np.array([1.0, 2.0])), {"keys": {"energy": "e", "forces": "forces"}},
        "train.xyz, frame 0\n  e has shape (2,), but the label energy needs ()\n"
        "  energy is one value of shape () per graph",
    ),
    "a number where forces are needed": (
        in_info("f", 3), {"keys": {"energy": "energy", "forces": "f"}},
        "train.xyz, frame 0\n  f has shape (), but the label forces needs (6, 3)\n"
        "  forces is one value of shape (3,) per atom",
    ),
    "a word where a number is needed": (
        in_info("e", "low"), {"keys": {"energy": "e", "forces": "forces"}},
        "train.xyz, frame 0\n  e is not a number: 'low'",
    ),
    "a flag where a number is needed": (
        in_info("e", True), {"keys": {"energy": "e", "forces": "forces"}},
        "train.xyz, frame 0\n  e is not a number: True",
    ),
    "position NaN": (
        moved(float("nan")), {}, "train.xyz, frame 4\n  the position of atom 2 is not finite: [nan, {y}, {z}]",
    ),
    "isolated atom": (
        moved(50.0), {},
        "train.xyz, frame 4\n  atom 2 (H) has no neighbour within r_max = 4 Å\n"
        "  raise model.r_max, or check data.units.length\n"
        "  if isolated atoms are intended: data.allow=[isolated_atoms]",
    ),
    "wrong unit of length": (
        lambda frames: None, {"units": {"length": "nm"}},
        "train.xyz, frame 0\n  atom 0 (C) has no neighbour within r_max = 4 Å\n"
        "  raise model.r_max, or check data.units.length\n"
        "  if isolated atoms are intended: data.allow=[isolated_atoms]",
    ),
    "unseen element in the last frames": (
        replaced(Atoms("HF", [[0, 0, 0], [0, 0, 1]])), {"split": {"train": 4, "val": "rest", "test": 1}},
        "train.xyz, frame 4\n  the val frames have F, which no training frame has\n  training frames have H, C, O",
    ),
    "dummy atom": (
        replaced(Atoms("XH", [[0, 0, 0], [0, 0, 1]])), {}, "train.xyz, frame 4\n  atom 0 is not an element",
    ),
    "periodic without a cell": (
        replaced(Atoms("H2", [[0, 0, 0], [0, 0, 1]], cell=[4, 4, 0], pbc=True)), {},
        "train.xyz, frame 4\n  the frame is periodic, but its cell vectors are linearly dependent: "
        "[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]",
    ),
    "split larger than the set": (
        lambda frames: None, {"split": {"train": 9, "val": 1, "test": 2}},
        "train.xyz\n  the split needs 9 (train) + 1 (val) + 2 (test) frames, but there are 10",
    ),
    "nothing left for training": (
        lambda frames: None, {"split": {"val": 8, "test": 2}},
        "train.xyz\n  the split leaves no frame for training: rest (train) + 8 (val) + 2 (test) of 10 frames",
    ),
    "unknown format": (
        lambda frames: None, {"format": "extxzy"},
        "train.xyz\n  ASE has no format named extxzy\n  did you mean extxyz?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FRAMES_AND_MESSAGES)
def test_frames(case: str, frames: Callable[..., list[Atoms]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, options, message = FRAMES_AND_MESSAGES[case]
    monkeypatch.chdir(tmp_path)
    made = frames()
    change(made)
    write("train.xyz", made, format="extxyz")
    y, z = (round(float(c), 8) for c in made[4].positions[min(2, len(made[4]) - 1), 1:])
    with pytest.raises(DataError) as caught:
        load(XyzSpec.model_validate({"path": "train.xyz", **options}), 4.0, LABELS)
    assert str(caught.value) == message.replace("{y}", str(y)).replace("{z}", str(z))
    assert not list(tmp_path.glob("cache/*")) or "split" in options


TEXTS_AND_MESSAGES = {
    "empty file": ("", "some.xyz\n  no frames"),
    "blank file": ("\n\n", "some.xyz\n  no frames"),
    "cut within a frame": (
        FRAME + WATER.format(count=3) + ROWS[0], "some.xyz, frame 1\n  the file ends after 1 of 3 atoms",
    ),
    "cut before the first atom": (FRAME + "3\n", "some.xyz, frame 1\n  the file ends after 0 of 3 atoms"),
    "a blank line among the atoms": (
        FRAME + "\n" + WATER.format(count=3) + ROWS[0] + "\n" + ROWS[2],
        "some.xyz, frame 1\n  cannot be read as extxyz: line 10 is blank, but 3 atoms are expected",
    ),
    "more atoms than announced": (
        FRAME + WATER.format(count=2) + "".join(ROWS),
        "some.xyz, frame 2\n  line 10: expected the number of atoms, found 'H 0 1 0 0 0 -1'",
    ),
    "no atoms": (FRAME + "0\n\n", "some.xyz, frame 1\n  line 6: expected the number of atoms, found '0'"),
    "a row too short": (
        FRAME + WATER.format(count=3) + ROWS[0] + "H 0 0 1\n" + ROWS[2],
        "some.xyz, frame 1\n  cannot be read as extxyz: …",
    ),
    "not a number": (
        FRAME + WATER.format(count=3) + ROWS[0] + "H 0 0 one 0 0 0\n" + ROWS[2],
        "some.xyz, frame 1\n  cannot be read as extxyz: …",
    ),
    "not an element": (
        FRAME + FRAME.replace("O 0", "Q 0"), "some.xyz, frame 1\n  cannot be read as extxyz: …",
    ),
    "energy of some frames only": (
        FRAME + FRAME.replace("energy", "Energy"),
        "some.xyz, frame 1\n  no key 'energy' for the label energy\n"
        "  existing keys: Energy, forces; did you mean data.keys.energy=Energy?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS_AND_MESSAGES)
def test_files(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, message = TEXTS_AND_MESSAGES[case]
    monkeypatch.chdir(tmp_path)
    Path("some.xyz").write_text(text)
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path="some.xyz"), 4.0, LABELS)
    assert_says(caught.value, message)


PATHS_AND_MESSAGES = {
    "tran.xyz": "tran.xyz\n  no such file\n  did you mean train.xyz?",
    "data/train.xyz": "data/train.xyz\n  no such file",
    "*.traj": "*.traj\n  no file matches",
    "folder": "folder\n  is a folder, not a file\n  all its files: folder/*",
    "notes.abc": "notes.abc\n  ASE does not recognize the format\n  set data.format to its name",
    "noise.xyz": "noise.xyz\n  cannot be read as extxyz: …",
}


@pytest.mark.parametrize("path", PATHS_AND_MESSAGES)
def test_paths(path: str, xyz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(xyz.parent)
    Path("folder").mkdir()
    Path("notes.abc").write_text("nothing that anybody knows\n")
    Path("noise.xyz").write_bytes(bytes(range(128, 256)) * 4)
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=path), 4.0, LABELS)
    assert_says(caught.value, PATHS_AND_MESSAGES[path])
