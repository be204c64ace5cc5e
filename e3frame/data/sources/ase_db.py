"""``data=ase_db``: databases of ASE, as SchNetPack and others write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.data.formats.portions import portions, unreadable
from e3frame.data.sources.files import FilesSpec
from e3frame.spec.errors import DataError

if TYPE_CHECKING:
    from e3frame.data.formats.portions import Frame

Rows = Sequence[tuple[int, int]]
"""Numbers of frames, and the ids of their rows."""


class AseDbSpec(FilesSpec):
    """Rows of ASE databases (``.db``) in the order of their ids. Labels come from the results, the key-value pairs and
    the ``data`` of a row."""

    kind: Literal["ase_db"] = "ase_db"
    select: str | None = Field(default=None, min_length=1)
    """Selection of rows in ASE's syntax, such as ``natoms<20,converged=1``; null: all."""

    def stated(self, file: str) -> Mapping[str, Any]:
        with _opened(file) as database:
            metadata = database.metadata  # which ASE copies
            if not isinstance(metadata, Mapping):
                raise TypeError(f"the metadata must be a mapping, not {type(metadata).__name__}")
            return metadata

    def count(self, file: str) -> int:
        with _opened(file) as database:
            return database.count(self.select)

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Rows]:
        with _opened(file) as database:
            found = [row.id for row in database.select(self.select, columns=["id"], include_data=False, sort="id")]
        wanted = range(len(found)) if frames is None else frames
        return portions(((frame, found[frame]) for frame in wanted), size)

    def frames(self, file: str, portion: Rows) -> Iterator[Frame]:
        numbers = {row: frame for frame, row in portion}
        span = f"id>={portion[0][1]},id<={portion[-1][1]}"
        with _opened(file) as database:
            for row in database.select(f"{self.select},{span}" if self.select else span, sort="id"):
                if row.id in numbers:
                    atoms = row.toatoms()
                    atoms.info |= {**row.key_value_pairs, **row.data}
                    yield numbers[row.id], atoms


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    from ase.db import connect

    try:
        with open(file, "rb") as raw:
            if raw.read(15) != b"SQLite format 3":
                raise DataError("is not an SQLite database of ASE", file=file, hint="for other formats use data=xyz")
        yield connect(file, type="db")
    except DataError:
        raise
    except Exception as error:  # SQLite, ASE and JSON raise various errors for a damaged file
        raise unreadable(file, "an ASE database", error) from error
