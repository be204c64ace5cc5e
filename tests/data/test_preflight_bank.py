"""Sound data of unusual kinds are not refused, nor warned about; what is wrong with them is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.bank import Rows, Set, coarse, few_sound, look_at, of_energies

ODD = ("warning", "error")


@pytest.mark.parametrize("data", few_sound(), ids=lambda data: data.name)
def test_sound_data_are_neither_refused_nor_warned_about(data: Set) -> None:
    assert [(f.level, f.check, f.text) for f in look_at(data) if f.level in ODD] == []


@pytest.mark.parametrize("number", [2, 3, 4])
def test_first_frames_are_not_warned_about(number: int) -> None:
    """Trajectories start with frames that are near each other."""
    for data in few_sound():
        if len(data.frames) < number:
            continue
        first = data._replace(frames=data.frames[:number])
        assert [(f.level, f.check, f.text) for f in look_at(first) if f.level in ODD] == []
        copied = data._replace(frames=[*data.frames[: number - 1], data.frames[0]])
        said = [f.text for f in look_at(copied) if f.check == "frames in two splits"]
        assert said == [f"1 of 1 val frames are also in training (1 identical, 0 nearly identical): frame {number - 1} "
                        "of a.xyz equals frame 0 of a.xyz"]  # fmt: skip


def test_noise_of_coarse_grains_is_no_error() -> None:
    """Forces alone, without energies whose gradient they could be: they may be shuffled, or hold noise."""
    for noise in (1.0, 10.0):
        levels = {finding.level for finding in look_at(Set("beads", coarse(60, noise, 1)))}
        assert "error" not in levels
        assert "warning" in levels


def times(key: str, factor: float) -> Callable[[Rows], None]:
    def change(frames: Rows) -> None:
        for atoms in frames:
            held = atoms.arrays if key in atoms.arrays else atoms.info
            held[key] = held[key] * factor

    return change


def shuffle(frames: Rows) -> None:
    rng = np.random.default_rng(0)
    for atoms in frames:
        atoms.arrays["forces"] = rng.permutation(atoms.arrays["forces"])


def reorder(frames: Rows) -> None:
    """As VASP writes six components."""
    for atoms in frames:
        yz, xz, xy = (atoms.info["stress"][place] for place in ((0, 1), (1, 2), (0, 2)))
        xx, yy, zz = np.diag(atoms.info["stress"])
        atoms.info["stress"] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


WRONG: dict[str, tuple[Callable[[Rows], None], str]] = {
    "the sign of forces": (times("forces", -1.0), "forces against energy"),
    "forces in kcal/mol/Å": (times("forces", 23.06), "forces against energy"),
    "energies in Hartree": (times("energy", 1 / 27.2114), "forces against energy"),
    "shuffled forces": (shuffle, "forces against positions"),
    "the sign of stresses": (times("stress", -1.0), "stress"),
    "stresses in GPa": (times("stress", 160.2177), "stress"),
    "another order of stresses": (reorder, "stress"),
}


@pytest.mark.parametrize("mistake", WRONG)
@pytest.mark.parametrize("kind", ["cells", "molecules"])
def test_what_is_wrong_is_found(kind: str, mistake: str) -> None:
    spoil, check = WRONG[mistake]
    data = of_energies(kind)
    if check == "stress" and kind == "molecules":
        spoil, check = times("forces", 1 / 23.06), "forces against energy"  # they have none
    spoil(data.frames)
    assert {f.check: f.level for f in look_at(data)}[check] == "error"
