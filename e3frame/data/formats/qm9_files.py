"""QM9 (Ramakrishnan et al. 2014) from two sources: the raw files that torch_geometric downloads, or the package
``qm9pack``. Both yield the same 130,831 molecules in the same order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from e3frame.data.formats.download import fetched
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.errors import DataError
from e3frame.spec.units import ENERGY, LENGTH

TARGETS = ("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
"""Columns of gdb9.sdf.csv after the name, in GHz, D, a0^3, Hartree, a0^2 and cal/(mol K)."""
HARTREE = ("homo", "lumo", "gap", "zpve", "U0", "U", "H", "G")
REFERENCES = {
    "U0": {"H": -0.500273, "C": -37.846772, "N": -54.583861, "O": -75.064579, "F": -99.718730},
    "U": {"H": -0.498857, "C": -37.845355, "N": -54.582445, "O": -75.063163, "F": -99.717314},
    "H": {"H": -0.497912, "C": -37.844411, "N": -54.581501, "O": -75.062219, "F": -99.716370},
    "G": {"H": -0.510927, "C": -37.861317, "N": -54.598897, "O": -75.079532, "F": -99.733544},
}
"""Energies of free atoms in Hartree, at the molecules' level of theory (atomref.txt of the data set)."""
PACK = {
    "A": "RotA_GHz", "B": "RotB_GHz", "C": "RotC_GHz", "mu": "Dipole_debye", "alpha": "Polarizability_bohr3",
    "homo": "HOMO_au", "lumo": "LUMO_au", "gap": "HOMO_LUMO_gap_au", "r2": "R2_bohr2", "zpve": "ZPVE_au",
    "U0": "InternalEnergy_0K_au", "U": "InternalEnergy_298K_au", "H": "Enthalphy_298K_au",
    "G": "GibbsFreeEnergy_298K_au", "Cv": "Heatcapacity_Cv_cal_mol_K",
}  # fmt: skip
"""qm9pack's columns."""
COMPONENTS = ("A_xx", "A_xy", "A_xz", "A_xy", "A_yy", "A_yz", "A_xz", "A_yz", "A_zz")
RAW = ("gdb9.sdf", "gdb9.sdf.csv", "uncharacterized.txt")
MOLECULES = {"raw": 133_885, "pack": 130_831}
"""Number of molecules in the raw files (all) and in qm9pack (only the characterized ones)."""
CUT_SHORT = "the file may be truncated; delete it to download it again"


def is_installed() -> bool:
    """Whether qm9pack is installed."""
    spec = find_spec("qm9pack")
    return spec is not None and bool(spec.submodule_search_locations)


def pack_files() -> list[str]:
    """Return the paths of qm9pack's files.

    Raises:
        DataError: the package is not installed.
    """
    spec = find_spec("qm9pack")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the package qm9pack is not installed", hint="pip install 'e3frame[qm9]'")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [str(folder / f"qm9_{name}.csv") for name in ("part1", "part2", "part3", "polarizability")]


def raw_files(root: Path) -> list[str]:
    """Return the paths of the raw files in ``root``/raw; downloads them if they are missing."""
    from torch_geometric.data import download_url, extract_zip
    from torch_geometric.datasets import QM9

    def fetch(part: str) -> None:
        folder = f"{part}/raw"
        archive = Path(download_url(QM9.raw_url, folder))
        extract_zip(str(archive), folder)
        archive.unlink()
        download_url(QM9.raw_url2, folder, filename=RAW[2])

    return [str(path) for path in fetched(root, [f"raw/{name}" for name in RAW], fetch, "QM9")]


def count_pack(files: Sequence[str]) -> int:
    """Return the number of molecules in qm9pack's files, which have a line each, below a header."""
    found = sum(_count_lines(file) - 1 for file in files[:-1])
    return _whole(found, "pack", Path(files[0]).parent, "pip install --force-reinstall qm9pack")


def count_raw(files: Sequence[str]) -> int:
    """Return the number of characterized molecules in the raw files."""
    found = _whole(_count_lines(files[1]) - 1, "raw", Path(files[1]), CUT_SHORT)
    return found - len(_skipped(files[2]))


def _whole(found: int, what: str, place: Path, hint: str) -> int:
    """Return the number of molecules; raise DataError if some are missing."""
    if found != MOLECULES[what]:
        raise DataError(f"has {max(found, 0):,} molecules, expected {MOLECULES[what]:,}", file=place, hint=hint)
    return found


Molecule = tuple[int, Atoms | DataError]
"""Number of a molecule in GDB-9, from 0, with its atoms or its error."""


def pack_molecules(files: Sequence[str], wanted: Sequence[int]) -> Iterator[Molecule]:
    """Yield molecules with their labels, named as in the paper.

    Args:
        wanted: indices of the molecules in the data set, in ascending order.
    """
    tensors = {
        row.cells[0]: row for row in _rows(files[-1:], {"XYZ_file", *COMPONENTS}) if len(row.cells) == len(row.header)
    }
    columns = {"Index", "Elements", "XYZ_Ang", "Mulliken_pop", *PACK.values()}
    for row in _rows(files[:-1], columns, wanted):
        try:
            yield _packed(row.read(), tensors)
        except (ValueError, KeyError) as error:
            yield row.number, _unreadable(error, row.file, row.number)


def _packed(row: dict[str, str], tensors: Mapping[str, _Row]) -> tuple[int, Atoms]:
    symbols = row["Elements"].strip("[]").replace("'", "").split(",")
    atoms = Atoms([ATOMIC_NUMBERS[symbol] for symbol in symbols], _numbers(row["XYZ_Ang"]).reshape(-1, 3))
    if row["XYZ_file"] not in tensors:
        raise ValueError(f"{row['XYZ_file']} has no polarizability")
    tensor = tensors[row["XYZ_file"]].read()
    matrix = np.array([float(tensor[key]) for key in COMPONENTS]).reshape(3, 3)
    atoms.info = _converted({name: float(row[key]) for name, key in PACK.items()}, atoms)
    atoms.info |= {"polarizability": matrix * LENGTH["bohr"] ** 3, "charges": _numbers(row["Mulliken_pop"])}
    return int(row["Index"]) - 1, atoms


def raw_molecules(files: Sequence[str], wanted: Sequence[int]) -> Iterator[Molecule]:
    """Yield molecules of the raw files, without those in uncharacterized.txt, like :func:`pack_molecules`."""
    structures, table, skipped = files
    skip = _skipped(skipped)
    kept = [number for number in range(_count_lines(table) - 1) if number not in skip]
    numbers = [kept[place] for place in wanted]
    with open(structures, encoding="utf-8", errors="replace") as sdf:
        passed = 0
        for row in _rows([table], {"mol_id", "mu", "u0", "cv"}, numbers):
            for _ in range(row.number - passed):
                _next_record(sdf)
            passed, file = row.number + 1, structures
            try:
                atoms, file = _molecule(*_next_record(sdf)), table
                values = map(float, list(row.read().values())[1:16])
                atoms.info = _converted(dict(zip(TARGETS, values, strict=True)), atoms)
            except (ValueError, KeyError) as error:
                yield row.number, _unreadable(error, file, row.number)
            else:
                yield row.number, atoms


def _unreadable(error: Exception, file: str, number: int) -> DataError:
    problem = f"{error} is not an element of QM9" if isinstance(error, KeyError) else str(error)
    return DataError(problem, file=file, frame=number)


_BRACKETS = str.maketrans("", "", "[] ")


def _numbers(text: str) -> NDArray[np.float64]:
    """Parse a list of numbers, nested or not, in Python's syntax. It is not JSON, which does not allow ``1.``."""
    return np.array(text.translate(_BRACKETS).split(","), dtype=np.float64)


def _count_lines(file: str) -> int:
    try:
        with open(file, "rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", file=file) from None


def _skipped(file: str) -> set[int]:
    """Return the numbers of the uncharacterized molecules, from 0. They are in the first column, counted from 1,
    between nine lines of heading and a footer."""
    lines = Path(file).read_text(encoding="utf-8", errors="replace").split("\n")[9:-2]
    try:
        found = {int(line.split()[0]) - 1 for line in lines}
    except (ValueError, IndexError):
        found = set()
    if not found:
        raise DataError("is not QM9's list of uncharacterized molecules", file=file)
    expected = MOLECULES["raw"] - MOLECULES["pack"]
    if len(found) != expected:
        problem = f"lists {len(found):,} uncharacterized molecules, expected {expected:,}"
        raise DataError(problem, file=file, hint=CUT_SHORT)
    return found


def _converted(values: dict[str, float], atoms: Atoms) -> dict[str, object]:
    """Convert energies to eV; subtract the free atoms from U0, U, H and G, and keep totals as ``<name>_total``."""
    labels: dict[str, object] = {
        name: value * ENERGY["Hartree"] if name in HARTREE else value for name, value in values.items()
    }
    symbols = atoms.get_chemical_symbols()
    for name, reference in REFERENCES.items():
        labels[f"{name}_total"] = labels[name]
        labels[name] = (values[name] - sum(reference[symbol] for symbol in symbols)) * ENERGY["Hartree"]
    return labels


class _Row(NamedTuple):
    """Row of a table, with its number, counted over all files."""

    file: str
    number: int
    header: list[str]
    cells: list[str]

    def read(self) -> dict[str, str]:
        """Return the values by column; raise ValueError if the row is incomplete."""
        if len(self.cells) != len(self.header):
            raise ValueError(f"the row has {len(self.cells)} of {len(self.header)} columns")
        return dict(zip(self.header, self.cells, strict=True))


def _rows(files: Sequence[str], columns: set[str], wanted: Sequence[int] | None = None) -> Iterator[_Row]:
    """Yield the wanted rows of tables (in ascending order; None: all).

    Raises:
        DataError: a column is missing.
    """
    number, chosen = -1, None if wanted is None else set(wanted)
    for file in files:
        with open(file, encoding="utf-8", errors="replace", newline="") as lines:
            header = _cells(next(lines, ""))
            missing = columns - set(header)
            if missing:
                hint = "this is not a QM9 file, or its version is not supported"
                raise DataError(f"has no column {min(missing)}", file=file, hint=hint)
            for line in lines:
                number += 1
                if chosen is None or number in chosen:
                    yield _Row(file, number, header, _cells(line))


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # the line of another kind of file, too long for a cell
        return []


def _next_record(sdf: Iterator[str]) -> tuple[list[str], bool]:
    """Return the lines of an SDF file up to the end of a record, and whether there is such an end."""
    lines: list[str] = []
    for line in sdf:
        if line.startswith("$$$$"):
            return lines, True
        lines.append(line)
    return lines, False


def _molecule(lines: Sequence[str], whole: bool) -> Atoms:
    """Parse a record in V2000 format; raise ValueError or KeyError if it is invalid."""
    head = lines[3] if len(lines) > 3 else ""
    if not ("V2000" in head and head[:3].strip().isdecimal()) and (head or whole):
        raise ValueError(f"cannot be read as SDF: expected a V2000 record, found '{head.strip()[:40]}'")
    if not whole:
        raise ValueError("the file ends before the table does")
    count = int(head[:3])
    rows = [row for line in lines[4 : 4 + count] if len(row := line.split()) > 3]
    if len(rows) < count:
        raise ValueError(f"cannot be read as SDF: it has {len(rows)} of {count} atoms")
    return Atoms([row[3] for row in rows], [[float(x) for x in row[:3]] for row in rows])
