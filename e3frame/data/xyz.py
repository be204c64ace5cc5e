"""``data=xyz``: one's own files, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from e3frame.data.files import FilesSpec

if TYPE_CHECKING:
    from ase import Atoms

    from e3frame.spec.errors import DataError


class XyzSpec(FilesSpec):
    """Frames of files that ASE reads: extended xyz, ASE trajectories, VASP, CP2K, ... ; periodic or not."""

    kind: Literal["xyz"] = "xyz"
    format: str | None = None
    """ASE's name of the format; null: by the file's name and content."""

    def reader(self) -> AseReader:
        return AseReader(self.format)

    def format_key(self) -> list[Any]:
        return [self.format]


@dataclass(frozen=True)
class AseReader:
    """Any format of ASE's."""

    format: str | None

    def count(self, file: str) -> int | None:
        from e3frame.data.frames import count_frames

        return count_frames(file, self.format)

    def read(self, file: str, frames: Sequence[int] | None) -> Iterator[tuple[int, Atoms | DataError]]:
        from e3frame.data.frames import read_frames

        return read_frames(file, self.format, frames)
