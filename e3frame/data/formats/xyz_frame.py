"""Parses a frame of an XYZ file, from text to atoms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import set_calc_and_arrays
from numpy.typing import NDArray

from e3frame.data.formats.xyz_header import Column, columns, periodicity, read_header
from e3frame.data.formats.xyz_text import Text, TextError, atoms_in
from e3frame.spec.base import shown
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.quantities import QUANTITIES

LOGICAL = {"T": True, "F": False, "True": True, "False": False}
CONVERT: Mapping[str, Callable[[str], Any]] = {"R": float, "I": int, "S": str, "L": LOGICAL.__getitem__}
"""Converter for each kind of column."""
_FORTRAN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[dD]([+-]?\d+)|([+-]\d{3}))")
_LABELLED = re.compile(r"(\d{0,3})([A-Za-z]{1,2})(\d*[+-]?|_\w*)")


def read_frame(found: Text, extended: bool) -> Atoms:
    """Parse the atoms of a frame.

    Args:
        extended: whether the comment line holds keys and the names of the columns; otherwise the first four columns are
            the element and the position, and the rest is ignored.

    Raises:
        TextError: the frame is invalid; the message gives the line.
    """
    try:
        lines = found.text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = found.line + found.text[: error.start].count(b"\n")
        raise TextError(f"line {line} is not UTF-8 text", "save the file as UTF-8") from None
    number = atoms_in(lines[0].encode(), found.line)
    comment, rows, more = lines[1].strip(), lines[2 : number + 2], lines[number + 2 :]
    vectors = [row.split() for row in more if row.lstrip().startswith("VEC")]
    info = read_header(comment, found.line + 1) if extended and not vectors else {}
    if vectors:
        info = {"comment": comment}
    named = "Properties" in info
    table = _columns(info.pop("Properties", "species:S:1:pos:R:3"), found.line + 1)
    cells = _cells(rows, table[-1].last, named, found.line + 2)
    arrays = {column.name: _values(cells, column, found.line + 2) for column in table}
    lattice = info.pop("Lattice", None)
    pbc = periodicity(info, lattice is not None, found.line + 1)
    cell = None if lattice is None else np.asarray(lattice, dtype=np.float64).T
    if vectors:
        cell, pbc = _cell_of(vectors, found.line + number + 2)
    numbers = _elements(arrays, found.line + 2)
    atoms = Atoms(numbers, arrays.pop("pos"), charges=arrays.pop("initial_charges", None), cell=cell, pbc=pbc)
    atoms.info = info
    if (mask := arrays.pop("move_mask", None)) is not None:
        atoms.set_constraint(_fixed(mask.astype(bool)))
    ase_names = {quantity.column: quantity.ase or quantity.name for quantity in QUANTITIES.values()}
    set_calc_and_arrays(atoms, {ase_names.get(name, name): values for name, values in arrays.items()})
    return atoms


def _columns(text: Any, line: int) -> tuple[Column, ...]:
    try:
        return columns(text if isinstance(text, str) else None)
    except TextError as error:
        raise TextError(f"line {line}: {error.problem}", error.hint) from None


def _cells(rows: Sequence[str], width: int, exact: bool, line: int) -> list[list[str]]:
    cells = [row.split() for row in rows]
    for k, row in enumerate(cells):
        if len(row) == width or (len(row) > width and not exact):
            continue
        if not row:
            raise TextError(f"line {line + k} is blank, but {len(rows)} atoms are expected")
        what = f"line {line + k} has {len(row)} column{'s' * (len(row) != 1)}, but "
        raise TextError(what + (f"Properties lists {width}" if exact else f"an element and a position need {width}"))
    return cells


def _values(cells: Sequence[Sequence[str]], column: Column, line: int) -> NDArray[Any]:
    """Return the values of a property, (atoms,) or (atoms, columns)."""
    name, kind, first, last = column
    convert = CONVERT[kind]
    try:
        rows = [[*map(convert, row[first:last])] for row in cells]
    except (ValueError, KeyError):
        rows = [[_careful(text, kind, name, line + k) for text in row[first:last]] for k, row in enumerate(cells)]
    values = np.array(rows, dtype={"R": np.float64, "I": np.int64, "S": object, "L": bool}[kind])
    return values[:, 0] if last - first == 1 else values


def _careful(text: str, kind: str, name: str, line: int) -> Any:
    """Convert a value, including Fortran's forms of numbers such as 1.0D-3."""
    if kind == "R" and (match := _FORTRAN.fullmatch(text)):
        return float(f"{match[1]}e{match[2] or match[3]}")
    try:
        return CONVERT[kind](text)
    except (ValueError, KeyError):
        hint = None
        if re.fullmatch(r"[+-]?\d*,\d+", text):
            hint = f"use a decimal point: {text.replace(',', '.')}"
        elif set(text) == {"*"}:
            hint = "the number did not fit into its column; write the file with wider columns"
        what = {"R": "a number", "I": "a whole number", "L": "T or F"}[kind]
        raise TextError(f"line {line}: {shown(text)} is not {what} ({name})", hint) from None


def _elements(arrays: dict[str, NDArray[Any]], line: int) -> list[int]:
    """Return the atomic numbers, from species, from Z, or from both if they agree."""
    given = arrays.pop("Z", None)
    symbols = arrays.pop("species", None)
    if symbols is None:
        assert given is not None  # the header names one of them
        wrong = (given < 1) | (given >= len(SYMBOLS))
        if wrong.any():
            k = int(wrong.argmax())
            raise TextError(f"line {line + k}: {given[k]} is not an atomic number")
        return given.tolist()
    numbers = []
    for k, symbol in enumerate(symbols):
        number = element(symbol)
        if isinstance(number, str):
            raise TextError(f"line {line + k}: {shown(symbol)} is not an element", number)
        if given is not None and given[k] != number:
            raise TextError(f"line {line + k}: species says {symbol}, but Z says {given[k]}")
        numbers.append(number)
    return numbers


@lru_cache(maxsize=4096)
def element(text: str) -> int | str:
    """Return the atomic number of an element, written as a symbol in any case, an atomic number, an isotope (D, 13C),
    or a symbol with a number (C1) or a charge (Fe3+); for ambiguous or unknown text, return a hint.

    >>> element("CL"), element("8"), element("D"), element("13C"), element("C12"), element("HG1")
    (17, 8, 1, 6, 6, 'write its symbol: H, or Hg')
    """
    if text.isascii() and text.isdigit() and len(text) < 4 and 0 < int(text) < len(SYMBOLS):
        return int(text)
    if text.capitalize() in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[text.capitalize()]
    if text in ("D", "T"):
        return 1
    match = _LABELLED.fullmatch(text)
    symbol = match[2].capitalize() if match else ""
    if match is None or symbol not in ATOMIC_NUMBERS or (match[1] and match[3]):
        return "write its symbol, such as C, or its atomic number"
    # The atom HG1 of a protein is a hydrogen.
    if len(symbol) == 2 and match[2].isupper() and match[2][0] in ATOMIC_NUMBERS:
        return f"write its symbol: {match[2][0]}, or {symbol}"
    return ATOMIC_NUMBERS[symbol]


def _cell_of(vectors: Sequence[Sequence[str]], line: int) -> tuple[NDArray[np.float64], list[bool]]:
    """Return cell and periodicity from the vectors VEC1 to VEC3 that ADF writes below the atoms."""
    cell, pbc = np.zeros((3, 3)), [False] * 3
    for k, (name, *numbers) in enumerate(vectors):
        if k > 2 or name != f"VEC{k + 1}" or len(numbers) != 3:
            raise TextError(f"line {line + k}: expected VEC1 to VEC3 with three numbers each")
        cell[k], pbc[k] = [_careful(text, "R", name, line + k) for text in numbers], True
    return cell, pbc


def _fixed(move: NDArray[np.bool_]) -> Any:
    if move.ndim == 1:
        return FixAtoms(mask=~move)
    return [FixCartesian(k, mask=~row) for k, row in enumerate(move)]
