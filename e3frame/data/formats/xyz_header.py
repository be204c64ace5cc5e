"""Comment line of extended XYZ. Wraps ASE's reader and handles what it rejects or silently misreads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase.io.extxyz import key_val_str_to_dict

from e3frame.data.formats.xyz_text import TextError
from e3frame.spec.base import shown

VOIGT = "xx, yy, zz, yz, xz, xy"
"""Order of six components of a stress or virial: Voigt order, as in ASE."""
_FULL = (0, 5, 4, 5, 1, 3, 4, 3, 2)
LONGEST = 1 << 23
"""Largest length of a comment line in bytes; ASE reads it character by character."""
SPELLED = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
"""Keys of the structure; ASE silently ignores other spellings."""
KINDS = "RISL"

_MATRIX = re.compile(r"""(?<!\S)(Lattice|stress|virial)\s*=\s*(["'{\[])([^"'{}\[\]]*)(["'}\]])""")
_FORTRAN = re.compile(r"(?<![\w.])([+-]?(?:\d+\.\d*|\.\d+))[dD]([+-]?\d{1,3})(?![\w.])")


class Column(NamedTuple):
    """A property of the atoms: its name, its kind (R, I, S or L), and the range of its columns."""

    name: str
    kind: str
    first: int
    last: int


def read_header(comment: str, line: int) -> dict[str, Any]:
    """Return keys and values of a comment line. Six components of ``stress`` or ``virial`` become a matrix.

    Raises:
        TextError: a matrix with a wrong number of components, or a key with a wrong spelling.
    """
    if len(comment) > LONGEST:
        raise TextError(f"line {line} is longer than {LONGEST >> 20} MiB", "store labels of this size in a .npz file")
    comment = _FORTRAN.sub(r"\1e\2", comment)
    comment = _MATRIX.sub(lambda match: _matrix(match, line), comment)
    info = key_val_str_to_dict(comment) if comment else {}
    for key in info:
        right = SPELLED.get(key.lower(), key)
        if key != right:
            raise TextError(f"line {line} has {key}=, which is ignored", f"write {right}=")
    return info


def six_of(comment: str) -> list[str]:
    """Return which of stress and virial have six numbers."""
    return [match[1] for match in _MATRIX.finditer(comment) if len(re.findall(r"[^\s,]+", match[3])) == 6]


def _matrix(match: re.Match[str], line: int) -> str:
    key, opening, text, closing = match.groups()
    numbers = re.findall(r"[^\s,]+", text)
    if len(numbers) == 6 and key != "Lattice":
        numbers = [numbers[k] for k in _FULL]
    if len(numbers) != 9:
        comma = re.search(r"\d,\d", text)
        hint = "use decimal points: 0.5, not 0,5" if comma else None
        if hint is None and key != "Lattice":
            hint = f"write nine components, or six in the order {VOIGT}"
        raise TextError(f"line {line}: {key} has {len(numbers)} numbers, 9 are required", hint)
    return f"{key}={opening}{' '.join(numbers)}{closing}"


def periodicity(info: dict[str, Any], default: bool, line: int) -> list[bool]:
    """Return the periodicity along each cell vector; removes it from ``info``."""
    given = np.ravel(info.pop("pbc", default)).tolist()
    if len(given) not in (1, 3) or not all(along in (0, 1) and not isinstance(along, str) for along in given):
        raise TextError(f"line {line}: pbc is {shown(given)}", 'for example pbc="T T F"')
    return [bool(along) for along in given * (3 // len(given))]


@lru_cache(maxsize=64)  # usually the same for all frames of a file
def columns(text: Any) -> tuple[Column, ...]:
    """Return the columns listed by ``Properties``.

    Raises:
        TextError: ``Properties`` is not a list of name:kind:width, or lacks elements or positions.
    """
    fields = text.split(":") if isinstance(text, str) else []
    found, first = [], 0
    for name, kind, width in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if kind not in tuple(KINDS) or not (width.isascii() and width.isdigit() and 0 < len(width) < 10 and int(width)):
            break
        found.append(Column(name, kind, first, first + int(width)))
        first += int(width)
    if 3 * len(found) != len(fields) or not found:
        hint = "write a list of name:kind:columns, for example species:S:1:pos:R:3"
        raise TextError(f"Properties={shown(text)} cannot be read", hint)
    names = [column.name for column in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TextError(f"Properties lists {shown(twice)} twice")
    _require_structure(found)
    return tuple(found)


def _require_structure(found: Sequence[Column]) -> None:
    widths = {column.name: (column.kind, column.last - column.first) for column in found}
    if widths.get("pos") != ("R", 3):
        raise TextError("Properties has no pos:R:3", "add it: these are the columns of the positions")
    if widths.get("species", ("S", 1)) != ("S", 1) or widths.get("Z", ("I", 1)) != ("I", 1):
        problem = "the elements in Properties must be one column of the right kind"
        raise TextError(problem, "write species:S:1, or Z:I:1")
    if not widths.keys() & {"species", "Z"}:
        raise TextError("Properties has no elements", "add species:S:1 for symbols, or Z:I:1 for atomic numbers")
