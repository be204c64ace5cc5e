"""Frames from files, by ASE: everything that can be wrong with one is said here, with its file and number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression
from numpy.typing import NDArray

from e3frame.data.base import Label
from e3frame.data.units import Units
from e3frame.spec.errors import DataError, did_you_mean, nearest


def read_frames(file: str, format: str | None, units: Units) -> Iterator[Atoms]:
    """The frames of a file in Å, checked: elements, positions and cell are known and finite.

    Raises:
        DataError: no frames, an unknown format, or a frame that cannot be read.
    """
    format = _format(file, format)
    if format in ("xyz", "extxyz"):
        try:
            _check_xyz(file)
        except (UnicodeDecodeError, EOFError, OSError) as error:
            raise DataError(f"cannot be read as {format}: {error}", file=file) from error
    frame, frames = 0, iread(file, ":", format=format, parallel=False, do_not_split_by_at_sign=True)
    while True:
        try:
            atoms = next(frames, None)
        except Exception as error:  # ASE's readers raise whatever they stumble on
            reason = str(error) or type(error).__name__
            raise DataError(f"cannot be read as {format}: {reason}", file=file, frame=frame) from error
        if atoms is None:
            break
        yield _checked(atoms, units.length_factor(), file, frame)
        frame += 1
    if frame == 0:
        raise DataError("no frames", file=file)


def read_label(atoms: Atoms, name: str, key: str, label: Label, file: str, frame: int) -> NDArray[np.float64]:
    """The value under ``key`` in the file's units, as (1, *shape) per graph or (n, *shape) per node.

    It is looked for in the frame's ``info``, its ``arrays``, and the results that ASE keeps with the frame, where it
    puts ``energy`` and ``forces``. A tensor may be written flat, its last index running fastest.

    Raises:
        DataError: it is not there, not numeric, not finite, or of another shape.
    """
    present = _present(atoms, label.per)
    if key not in present:
        match = nearest(key, present)
        there = f"keys there: {', '.join(sorted(present))}" if present else "the frame has no keys"
        hint = there + (f"; did you mean data.keys.{name}={match}?" if match else "")
        raise DataError(f"no key '{key}' for the label {name}", file=file, frame=frame, hint=hint)
    value = np.asarray(present[key])
    if value.dtype.kind not in "fiu":
        raise DataError(f"{key} is not a number: {value.tolist()!r}", file=file, frame=frame)
    rows = 1 if label.per == "graph" else len(atoms)
    width = int(np.prod(label.shape))
    accepted = {(rows, *label.shape), (rows, width)}
    if label.per == "graph":
        accepted |= {label.shape, (width,)}
    elif width == 1:
        accepted.add((rows,))
    if value.shape not in accepted:
        expected = label.shape if label.per == "graph" else (rows, *label.shape)
        each = "graph" if label.per == "graph" else "atom"
        raise DataError(
            f"{key} has the shape {value.shape}, the label {name} needs {expected}",
            file=file,
            frame=frame,
            hint=f"{name} is one value of shape {label.shape} per {each}",
        )
    value = value.astype(np.float64).reshape(rows, *label.shape)
    if not np.isfinite(value).all():
        row = int(np.argwhere(~np.isfinite(value))[0, 0])
        where = f" of atom {row}" if label.per == "node" else ""
        raise DataError(f"{key}{where} is not finite: {_listed(value[row])}", file=file, frame=frame)
    return value


def _present(atoms: Atoms, per: str) -> dict[str, Any]:
    results = {} if atoms.calc is None else {k: v for k, v in atoms.calc.results.items() if v is not None}
    arrays = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    # Where a key is in two places, the later mapping wins: the one that holds values of the label's kind.
    return {**results, **arrays, **atoms.info} if per == "graph" else {**atoms.info, **results, **arrays}


def _format(file: str, format: str | None) -> str:
    try:
        if Path(file).stat().st_size == 0:
            raise DataError("no frames", file=file)
        name = format or filetype(file)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", file=file) from error
    except UnknownFileTypeError:
        name = ""
    if name in ioformats:
        return name
    if format is None:
        raise DataError("ASE does not recognise the format", file=file, hint="name it with data.format")
    raise DataError(f"ASE knows no format {format}", file=file, hint=did_you_mean(format, ioformats, "known"))


def _check_xyz(file: str) -> None:
    """Find frames that ASE would drop (it stops without a word at a blank line) or report without their number."""
    frame = 0
    with open_with_compression(file, "r") as lines:
        for line in lines:
            if line.lstrip().startswith("VEC"):
                continue
            if not line.strip():
                if any(rest.strip() for rest in lines):
                    raise DataError("a blank line stands where a frame should begin", file=file, frame=frame)
                return
            if not line.strip().isdecimal() or int(line) == 0:
                raise DataError(
                    f"the number of atoms should stand here, not '{line.strip()[:40]}'", file=file, frame=frame
                )
            count = int(line)
            found = sum(1 for _ in zip(range(count + 1), lines, strict=False)) - 1
            if found < count:
                raise DataError(f"the file ends after {max(found, 0)} of {count} atoms", file=file, frame=frame)
            frame += 1


def _checked(atoms: Atoms, length: float, file: str, frame: int) -> Atoms:
    if len(atoms) == 0:
        raise DataError("no atoms", file=file, frame=frame)
    if not np.isfinite(atoms.positions).all():
        atom = int(np.argwhere(~np.isfinite(atoms.positions))[0, 0])
        raise DataError(
            f"the position of atom {atom} is not finite: {_listed(atoms.positions[atom])}", file=file, frame=frame
        )
    if not np.isfinite(atoms.cell.array).all():
        raise DataError(f"the cell is not finite: {atoms.cell.array.tolist()}", file=file, frame=frame)
    if (atoms.numbers == 0).any():
        raise DataError(f"atom {int(np.argmin(atoms.numbers))} is not an element", file=file, frame=frame)
    if length != 1.0:
        atoms.set_cell(atoms.cell.array * length)
        atoms.positions *= length
    return atoms


def _listed(value: NDArray[np.float64]) -> str:
    return str(value.tolist())
