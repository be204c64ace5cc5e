"""QM9 (Ramakrishnan et al. 2014) as two sources hold it: the raw files that torch_geometric downloads, and the package
``qm9pack``. Both give the same 130,831 molecules in the same order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from e3frame.data.download import fetched
from e3frame.data.units import ENERGY, LENGTH
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.errors import DataError

TARGETS = ("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
"""Columns of gdb9.sdf.csv after the name, in GHz, D, a0^3, Hartree, a0^2 and cal/(mol K)."""
HARTREE = ("homo", "lumo", "gap", "zpve", "U0", "U", "H", "G")
REFERENCES = {
    "U0": {"H": -0.500273, "C": -37.846772, "N": -54.583861, "O": -75.064579, "F": -99.718730},
    "U": {"H": -0.498857, "C": -37.845355, "N": -54.582445, "O": -75.063163, "F": -99.717314},
    "H": {"H": -0.497912, "C": -37.844411, "N": -54.581501, "O": -75.062219, "F": -99.716370},
    "G": {"H": -0.510927, "C": -37.861317, "N": -54.598897, "O": -75.079532, "F": -99.733544},
}
"""Energies of free atoms in Hartree, at the level of the molecules (the data set's atomref.txt)."""
PACK = {
    "A": "RotA_GHz", "B": "RotB_GHz", "C": "RotC_GHz", "mu": "Dipole_debye", "alpha": "Polarizability_bohr3",
    "homo": "HOMO_au", "lumo": "LUMO_au", "gap": "HOMO_LUMO_gap_au", "r2": "R2_bohr2", "zpve": "ZPVE_au",
    "U0": "InternalEnergy_0K_au", "U": "InternalEnergy_298K_au", "H": "Enthalphy_298K_au",
    "G": "GibbsFreeEnergy_298K_au", "Cv": "Heatcapacity_Cv_cal_mol_K",
}  # fmt: skip
"""qm9pack's columns."""
COMPONENTS = ("A_xx", "A_xy", "A_xz", "A_xy", "A_yy", "A_yz", "A_xz", "A_yz", "A_zz")
RAW = ("gdb9.sdf", "gdb9.sdf.csv", "uncharacterized.txt")


def pack_files() -> list[str]:
    """qm9pack's files.

    Raises:
        DataError: the package is not installed.
    """
    spec = find_spec("qm9pack")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the package qm9pack is not installed", hint="pip install 'e3frame[qm9]'")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [str(folder / f"qm9_{name}.csv") for name in ("part1", "part2", "part3", "polarizability")]


def raw_files(root: Path) -> list[str]:
    """The raw files in ``root``/raw, downloaded if they are not there."""
    from torch_geometric.data import download_url, extract_zip
    from torch_geometric.datasets import QM9

    def fetch(part: str) -> None:
        folder = f"{part}/raw"
        archive = Path(download_url(QM9.raw_url, folder))
        extract_zip(str(archive), folder)
        archive.unlink()
        Path(download_url(QM9.raw_url2, folder)).rename(Path(folder) / RAW[2])

    return [str(path) for path in fetched(root, [f"raw/{name}" for name in RAW], fetch, "QM9")]


def count_pack(files: Sequence[str]) -> int:
    """How many molecules qm9pack's files hold: a line each, below a header."""
    return sum(_count_lines(file) - 1 for file in files[:-1])


def count_raw(files: Sequence[str]) -> int:
    """How many characterized molecules the raw files hold."""
    return _count_lines(files[1]) - 1 - len(_skipped(files[2]))


def pack_molecules(files: Sequence[str], wanted: Sequence[int]) -> Iterator[tuple[int, Atoms]]:
    """Molecules with their labels under the names of the paper, and their numbers in GDB-9, counted from 0.

    Args:
        wanted: their places in the set, in rising order.
    """
    tensors = {row["XYZ_file"]: row for _, row in _rows(files[-1:], {"XYZ_file", *COMPONENTS})}
    columns = {"Index", "Elements", "XYZ_Ang", "Mulliken_pop", *PACK.values()}
    for _, row in _rows(files[:-1], columns, wanted):
        symbols = row["Elements"].strip("[]").replace("'", "").split(",")
        atoms = Atoms([ATOMIC_NUMBERS[symbol] for symbol in symbols], _numbers(row["XYZ_Ang"]).reshape(-1, 3))
        tensor = np.array([float(tensors[row["XYZ_file"]][key]) for key in COMPONENTS]).reshape(3, 3)
        atoms.info = _converted({name: float(row[key]) for name, key in PACK.items()}, atoms)
        atoms.info |= {"polarizability": tensor * LENGTH["bohr"] ** 3, "charges": _numbers(row["Mulliken_pop"])}
        yield int(row["Index"]) - 1, atoms


def raw_molecules(files: Sequence[str], wanted: Sequence[int]) -> Iterator[tuple[int, Atoms]]:
    """The same of the raw files, without the molecules that uncharacterized.txt lists."""
    structures, table, skipped = files
    skip = _skipped(skipped)
    kept = [number for number in range(_count_lines(table) - 1) if number not in skip]
    numbers = [kept[place] for place in wanted]
    with open(structures, encoding="utf-8") as sdf:
        passed = 0
        for number, row in _rows([table], {"mol_id", "mu", "u0", "cv"}, numbers):
            _skip_records(sdf, number - passed)
            passed = number + 1
            atoms = _next_molecule(sdf, structures, number)
            atoms.info = _converted(dict(zip(TARGETS, map(float, list(row.values())[1:16]), strict=True)), atoms)
            yield number, atoms


_BRACKETS = str.maketrans("", "", "[] ")


def _numbers(text: str) -> NDArray[np.float64]:
    """A list in Python's form, nested or not; it is not JSON, which has no number that ends in a point."""
    return np.array(text.translate(_BRACKETS).split(","), dtype=np.float64)


def _count_lines(file: str) -> int:
    try:
        with open(file, "rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", file=file) from None


def _skipped(file: str) -> set[int]:
    """Numbers of the uncharacterized molecules, from 0: the first column, which counts from 1, below nine lines of
    heading and above a footer."""
    lines = Path(file).read_text(encoding="utf-8").split("\n")[9:-2]
    try:
        return {int(line.split()[0]) - 1 for line in lines}
    except (ValueError, IndexError):
        raise DataError("is not QM9's list of uncharacterized molecules", file=file) from None


def _converted(values: dict[str, float], atoms: Atoms) -> dict[str, object]:
    """Energies in eV; U0, U, H, G without those of the free atoms, and as totals under ``<name>_total``."""
    labels: dict[str, object] = {
        name: value * ENERGY["Hartree"] if name in HARTREE else value for name, value in values.items()
    }
    symbols = atoms.get_chemical_symbols()
    for name, reference in REFERENCES.items():
        labels[f"{name}_total"] = labels[name]
        labels[name] = (values[name] - sum(reference[symbol] for symbol in symbols)) * ENERGY["Hartree"]
    return labels


def _rows(
    files: Sequence[str], columns: set[str], wanted: Sequence[int] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of tables, with their numbers counted through all files; just those wanted (in rising order) are parsed.

    Raises:
        DataError: a column is not there, or a row is not complete.
    """
    number, chosen = -1, None if wanted is None else set(wanted)
    for file in files:
        with open(file, encoding="utf-8", newline="") as lines:
            header = next(csv.reader([next(lines, "")]), [])
            missing = columns - set(header)
            if missing:
                hint = "this is not a file of QM9, or one of another version"
                raise DataError(f"has no column {min(missing)}", file=file, hint=hint)
            for line in lines:
                number += 1
                if chosen is None or number in chosen:
                    values = next(csv.reader([line]), [])
                    if len(values) != len(header):
                        problem = f"the row has {len(values)} of {len(header)} columns"
                        raise DataError(problem, file=file, frame=number)
                    yield number, dict(zip(header, values, strict=True))


def _skip_records(sdf: Iterator[str], count: int) -> None:
    for _ in range(count):
        for line in sdf:
            if line.startswith("$$$$"):
                break


def _next_molecule(sdf: Iterator[str], file: str, index: int) -> Atoms:
    """The next record of an SDF file, in the V2000 format."""
    try:
        head = [next(sdf) for _ in range(4)]
        if "V2000" not in head[3]:
            raise ValueError(f"a V2000 record should stand here, not '{head[3].strip()[:40]}'")
        rows = [next(sdf).split() for _ in range(int(head[3][:3]))]
        atoms = Atoms([row[3] for row in rows], [[float(x) for x in row[:3]] for row in rows])
        while not next(sdf).startswith("$$$$"):
            pass
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"cannot be read as SDF: {error}", file=file, frame=index) from None
    except StopIteration:
        raise DataError("the file ends here, but the table goes on", file=file, frame=index) from None
    return atoms
