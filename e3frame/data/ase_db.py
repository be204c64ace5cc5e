"""``data=ase_db``: databases of ASE, as SchNetPack and others write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.data.files import FilesSpec
from e3frame.spec.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


class AseDbSpec(FilesSpec):
    """Rows of ASE databases (``.db``). Labels are looked for in the results, the key-value pairs and the ``data`` of
    a row."""

    kind: Literal["ase_db"] = "ase_db"
    select: str | None = Field(default=None, min_length=1)
    """Only rows that match, in ASE's language, such as ``natoms<20,converged=1``; null: all."""

    def reader(self) -> AseDbReader:
        return AseDbReader(self.select)

    def format_key(self) -> list[Any]:
        return [self.select]


@dataclass(frozen=True)
class AseDbReader:
    """Frames are the rows by id."""

    select: str | None

    def count(self, file: str) -> int:
        with _opened(file) as database:
            return database.count(self.select)

    def read(self, file: str, frames: Sequence[int] | None) -> Iterator[tuple[int, Atoms]]:
        offset, limit = (0, None) if frames is None else (frames[0], frames[-1] + 1 - frames[0])
        wanted = None if frames is None else set(frames)
        with _opened(file) as database:
            for frame, row in enumerate(database.select(self.select, offset=offset, limit=limit, sort="id"), offset):
                if wanted is None or frame in wanted:
                    atoms = row.toatoms()
                    atoms.info |= {**row.key_value_pairs, **row.data}
                    yield frame, atoms


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    from ase.db import connect

    try:
        with open(file, "rb") as raw:
            if raw.read(15) != b"SQLite format 3":
                raise DataError("is not an SQLite database of ASE", file=file, hint="other formats: data=xyz")
        yield connect(file, type="db")
    except DataError:
        raise
    except Exception as error:  # whatever SQLite, ASE and JSON make of a damaged file
        raise DataError(f"cannot be read as an ASE database: {error or type(error).__name__}", file=file) from error
