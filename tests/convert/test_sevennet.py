"""Checkpoints of SevenNet give the same energies, forces and stresses after their conversion."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from support.mace import unpacked

from e3frame.convert.conversion import convert
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.saved import load_model
from e3frame.spec.errors import UserError

ARCHIVE = Path(__file__).with_name("sevennet.tar.xz")
NAMES = ("xplor", "polynomial", "old")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``<name>.pth`` for each model, and ``references.json``."""
    folder = tmp_path_factory.mktemp("sevennet")
    unpacked(folder, ARCHIVE)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_sevenn(name: str, checkpoints: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    convert(checkpoints / f"{name}.pth", out)
    known = json.loads((checkpoints / "references.json").read_text(encoding="utf-8"))
    assert set(known) == {path.stem for path in checkpoints.glob("*.pth")} == set(NAMES)
    assert len(known[name]) == 2
    for reference in known[name]:
        cell, wanted = reference["cell"], reference["float64"]
        atoms = Atoms(reference["numbers"], reference["positions"], cell=cell, pbc=cell is not None)
        for dtype, bound in {"float64": 1e-12, "float32": 1e-5}.items():
            atoms.calc = E3FrameCalculator(out, dtype=dtype)
            found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            if cell is not None:
                found["stress"] = atoms.get_stress(voigt=False)
            assert found.keys() == wanted.keys()
            for quantity, value in found.items():
                scale = np.abs(wanted[quantity]).max()
                np.testing.assert_allclose(value, wanted[quantity], rtol=0, atol=bound * scale, err_msg=quantity)


def test_the_spec_says_that_mirror_images_may_differ(checkpoints: Path, tmp_path: Path) -> None:
    done = convert(checkpoints / "xplor.pth", tmp_path / "m.safetensors")
    assert dict(done.summary())["symmetry"] == "rotations, not inversion: mirror images may differ in energy"
    spec = load_model(tmp_path / "m.safetensors").spec
    assert spec.symmetry == "SO(3)"
    assert spec.species == ("H", "Na", "O")
    assert spec.layers["radial"].envelope.kind == "xplor"


def changed(path: Path, target: Path, before: bytes, after: bytes) -> Path:
    """A checkpoint whose pickle has other bytes in one place."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith("data.pkl"):
                assert content.count(before) >= 1, before
                content = content.replace(before, after)
            new.writestr(entry, content)
    return target


def text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("linear", "nequip", "config.self_connection_type: nequip is not known here, only linear"),
        ("bessel", "chebyshev", "config.radial_basis.radial_basis_name: chebyshev is not known here, only bessel"),
        (
            "XPLOR",
            "cosine",
            "config.cutoff_function.cutoff_function_name: cosine is not known here, only XPLOR and poly_cut",
        ),
        ("Na", "Xx", "config.chemical_species: symbols of elements are required, with even scalars for each"),
        ("4x0e+2x1e+3x2e", "4x0e+2x1e+3x2", "config.irreps_manual: irreps are required, got 4x0e+2x1e+3x2"),
        ("4x0e+2x1e+3x2e", "4x0e+2x1e+2x2e", "its parts do not fit"),
        ("0_convolution.denominator", "0_convolution.nominator", "0_convolution.denominator: this tensor is missing"),
        (
            "rescale_atomic_energy.scale",
            "rescale_atomic_energy.more",
            "rescale_atomic_energy.scale: this tensor is missing",
        ),
        ("silu", "tanh", "config.act_radial: tanh is not known here, only silu"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named(
    before: str, after: str, problem: str, checkpoints: Path, tmp_path: Path
) -> None:
    path = changed(checkpoints / "xplor.pth", tmp_path / "a.pth", text(before), text(after))
    with pytest.raises(UserError) as caught:
        convert(path, tmp_path / "m.safetensors")
    said = str(caught.value)
    if problem == "its parts do not fit":
        assert "1_" in said or "0_" in said
    else:
        assert said == f"{path}\n  not converted: {problem}"
    assert not (tmp_path / "m.safetensors").exists()


def test_no_heads(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="models of SevenNet have no heads"):
        convert(checkpoints / "xplor.pth", tmp_path / "m.safetensors", head="x")
