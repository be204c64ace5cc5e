"""Units that files themselves state: read where the user says nothing, and held against what the user says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import write

from e3frame.cli import main
from e3frame.data.formats.stated_units import unit_named
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label, parse_data
from e3frame.inference.predictions import _frames
from e3frame.spec.errors import DataError
from e3frame.spec.units import ENERGY, FORCE, LENGTH, Units, with_units

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
KCAL, BOHR, HARTREE = ENERGY["kcal/mol"], LENGTH["bohr"], ENERGY["Hartree"]
Made = list[Atoms]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def database(frames: Made, metadata: dict[str, Any], name: str = "a.db") -> dict[str, Any]:
    """As SchNetPack writes them: what is calculated in ``data``."""
    with connect(name) as opened:
        for atoms in frames:
            row = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            opened.write(Atoms(atoms.numbers, atoms.positions), data=row)
        opened.metadata = metadata
    return {"kind": "ase_db", "path": name}


def npz(frames: Made, stated: dict[str, Any]) -> dict[str, Any]:
    arrays = {"R": [a.positions for a in frames], "E": [a.get_potential_energy() for a in frames]}
    np.savez("a.npz", **arrays, F=[a.get_forces() for a in frames], z=frames[0].numbers, **stated)
    return {"kind": "npz", "path": "a.npz"}


def xyz(frames: Made, stated: dict[str, Any]) -> dict[str, Any]:
    for atoms in frames:
        atoms.info |= stated
    write("a.xyz", frames, format="extxyz")
    return {"kind": "xyz", "path": "a.xyz"}


def factors(raw: dict[str, Any], frames: Made) -> tuple[float, float, float]:
    """By what energies, forces and lengths of the file were multiplied."""
    train = load(parse_data(raw | {"split": {"val": 0, "test": 0}}), 60.0, LABELS).train
    graph, atoms = train[0], frames[0]
    energy = float(graph.energy) / atoms.get_potential_energy()
    return energy, float(graph.forces[0, 0]) / atoms.get_forces()[0, 0], float(graph.pos[0, 0]) / atoms.positions[0, 0]


SCHNETPACK = {"_property_unit_dict": {"energy": "kcal/mol", "forces": "kcal/mol/Ang"}, "_distance_unit": "Ang"}
STATED = {
    "SchNetPack": (database, SCHNETPACK, (KCAL, KCAL, 1.0)),
    "forces that follow": (database, {"_property_unit_dict": {"energy": "Ha"}, "_distance_unit": "Bohr"},
                           (HARTREE, HARTREE / BOHR, BOHR)),
    "forces of their own": (database, {"units": {"energy": "Hartree", "forces": "eV/Å"}}, (HARTREE, 1.0, 1.0)),
    "one name": (database, {"unit": "kcal mol^-1"}, (KCAL, KCAL, 1.0)),
    "each by name": (database, {"energy_unit": "kJ/mol", "length_unit": "nm", "other": {"energy": "eV"}},
                     (ENERGY["kJ/mol"], ENERGY["kJ/mol"] / 10, 10.0)),
    "atomic units": (database, {"energy_unit": "a.u.", "distance_unit": "a.u."}, (HARTREE, HARTREE / BOHR, BOHR)),
    "by value": (database, {"_property_unit_dict": {"energy": 27.211386, "forces": "1"}}, (HARTREE, HARTREE, 1.0)),
    "nothing": (database, {"atomrefs": {}, "note": "eV"}, (1.0, 1.0, 1.0)),
    "sGDML": (npz, {"e_unit": "kcal/mol", "r_unit": "Ang"}, (KCAL, KCAL, 1.0)),
    "bytes": (npz, {"r_unit": np.bytes_("bohr"), "E_units": np.array(["Ry"])},
              (ENERGY["Ry"], ENERGY["Ry"] / BOHR, BOHR)),
    "no unit": (npz, {"unit_cell": np.eye(3), "units_of_work": 5}, (1.0, 1.0, 1.0)),
    "extended xyz": (xyz, {"energy_unit": "meV", "forces_unit": "eV/Angstrom"}, (1e-3, 1.0, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("case", STATED)
def test_what_a_file_states_is_read_so(case: str, frames: Callable[..., Made]) -> None:
    make, stated, expected = STATED[case]
    made = frames(4)
    np.testing.assert_allclose(factors(make(made, stated), made), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_databases_that_are_read_as_any_file(name: str, frames: Callable[..., Made]) -> None:
    made = frames(4)
    with connect(name) as opened:
        for atoms in made:
            opened.write(atoms)
        opened.metadata = SCHNETPACK
    raw = {"kind": "xyz", "path": name}
    np.testing.assert_allclose(factors(raw, made), (KCAL, KCAL, 1.0), rtol=1e-6)


def test_a_contradiction_is_refused_and_agreement_is_not(frames: Callable[..., Made]) -> None:
    made = frames(4)
    raw = database(made, SCHNETPACK)
    same = raw | {"units": {"energy": "kcal/mol", "length": "Å"}}
    np.testing.assert_allclose(factors(same, made), (KCAL, KCAL, 1.0), rtol=1e-6)
    for given, said in [
        ({"energy": "eV"}, "states the energy in kcal/mol, but data.units.energy is eV\n  remove data.units.energy"),
        (
            {"forces": "eV/A"},
            "states the forces in kcal/mol/Å, but data.units.forces is eV/Å\n  remove data.units.forces",
        ),
        ({"length": "bohr"}, "states the length in Å, but data.units.length is bohr\n  remove data.units.length"),
    ]:
        with pytest.raises(DataError) as caught:
            factors(raw | {"units": given}, made)
        assert str(caught.value) == f"a.db\n  {said}, or correct the file"
    database(made, {"unit": "eV"}, "b.db")
    with pytest.raises(
        DataError,
        match=r"^b.db\n  states other units than a.db\n  use path, val_path and test_path for them",
    ):
        factors(raw | {"path": ["a.db", "b.db"]}, made)
    both = load(parse_data(raw | {"test_path": "b.db"}), 60.0, LABELS)
    assert float(both.train[0].energy) == pytest.approx(KCAL * float(both.test[0].energy))
    twice = {"energy_unit": "eV", "_property_unit_dict": {"energy": "Ha"}}
    with pytest.raises(DataError, match="states the energy in Hartree and in eV"):
        factors(database(made, twice, "c.db"), made)


def test_a_unit_that_is_none(frames: Callable[..., Made]) -> None:
    made = frames(4)
    raw = database(made, {"energy_unit": "furlong", "forces_unit": "MeV/Å"})
    with pytest.raises(DataError) as caught:
        factors(raw, made)
    assert str(caught.value) == (
        "a.db\n  states the energy in furlong, which is not a unit of energy\n"
        "  known: eV, meV, Hartree, Ry, kcal/mol, kJ/mol; set it with data.units.energy=UNIT"
    )
    given = raw | {"units": {"energy": "Ha", "forces": "eV/A"}}
    np.testing.assert_allclose(factors(given, made), (HARTREE, 1.0, 1.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "quantity", "name"),
    [("kcal/mol/Ang", "forces", "kcal/mol/Å"), ("kcal/mol/Å", "forces", "kcal/mol/Å"),
     ("eV / Angstrom", "forces", "eV/Å"),
     ("(kcal/mol)/A", "forces", "kcal/mol/Å"), ("EV/ANG", "forces", "eV/Å"), ("eV·Å^-1", "forces", "eV/Å"),
     ("Hartree/Bohr", "forces", "Hartree/bohr"), ("kcal mol-1 Ang-1", "forces", "kcal/mol/Å"), ("Eh/a0", "forces",
     "Hartree/bohr"),
     ("au", "forces", "Hartree/bohr"), ("eV", "forces", None), ("hartree", "energy", "Hartree"),
     ("kcal", "energy", None), ("MeV", "energy", None), ("mEV", "energy", "meV"), ("eV/Å", "energy", None),
     ("\u212b", "length", "Å"), ("angstroms", "length", "Å"), ("eV/Ang**3", "stress", "eV/Å^3"),
     ("GPa", "stress", "GPa"),
     ("Debye", "dipole", "D"), ("e Ang", "dipole", "e*Å"), ("e*bohr", "dipole", "e*bohr"), ("a0**3", "polarizability",
     "bohr^3"), ("kJ/mol", "virial", "kJ/mol"), (0.0433641, "energy", "kcal/mol"), (True, "energy", None),
     ("eV" * 40, "energy", None), ("eV^999999999", "energy", None), (float("nan"), "energy", None)],
)  # fmt: skip
def test_spellings(text: Any, quantity: str, name: str | None) -> None:
    assert unit_named(text, quantity) == name


@pytest.mark.parametrize("quantity", with_units())
def test_every_name_of_ours_is_understood(quantity: str) -> None:
    assert [unit_named(name, quantity) for name in with_units()[quantity]] == list(with_units()[quantity])


def test_it_is_said(frames: Callable[..., Made], capsys: pytest.CaptureFixture[str]) -> None:
    database(frames(8), SCHNETPACK)
    main(["check", "model=nequip_small", "data=ase_db", "data.path=a.db"])
    out = " ".join(capsys.readouterr().out.split())
    assert "a.db states its units, which are used: length in Å, energy in kcal/mol, forces in kcal/mol/Å" in out


def test_lengths_of_files_that_are_predicted(frames: Callable[..., Made]) -> None:
    made = frames(2)
    xyz(made, {"length_unit": "Bohr"})
    ((atoms, _, _), _) = _frames(["a.xyz"], None, Units())
    np.testing.assert_allclose(atoms.positions, made[0].positions * BOHR, atol=1e-8)
    with pytest.raises(DataError, match=r"states the length in bohr, but data\.units\.length is nm"):
        next(_frames(["a.xyz"], None, Units(length="nm")))
    assert FORCE["Hartree/bohr"] == HARTREE / BOHR


@pytest.mark.parametrize("metadata", [[], [[{"unit": "eV"}]], 3, "eV"])
def test_metadata_that_are_no_mapping(metadata: Any, frames: Callable[..., Made]) -> None:
    raw = database(frames(2), metadata)
    with pytest.raises(DataError) as caught:
        parse_data(raw).found_units()
    found = "the metadata must be a mapping, not list" if isinstance(metadata, list) else "'copy'"
    assert str(caught.value).startswith("a.db\n  cannot be read as an ASE database: ")
    assert found in str(caught.value)
