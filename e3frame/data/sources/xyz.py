"""``data=xyz``: one's own files, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from e3frame.data.sources.files import FilesSpec, expanded

if TYPE_CHECKING:
    from ase import Atoms

    from e3frame.data.formats.frames import Held
    from e3frame.data.sources.base import Label
    from e3frame.spec.errors import DataError


class XyzSpec(FilesSpec):
    """Frames of files that ASE reads: extended xyz, ASE trajectories, VASP, CP2K, ... ; periodic or not."""

    kind: Literal["xyz"] = "xyz"
    format: str | None = None
    """ASE's name of the format; null: by the file's name and content."""

    def reader(self, labels: Mapping[str, Label] = MappingProxyType({})) -> AseReader:
        return AseReader(self.format)

    def stated(self, file: str) -> Mapping[str, Any]:
        from e3frame.data.formats.frames import stated_units

        return stated_units(file, self.format)

    def remarks(self) -> list[str]:
        from e3frame.data.formats.frames import six_components
        from e3frame.data.formats.xyz_header import VOIGT

        found = super().remarks()
        for file in expanded(self.path):
            for key in six_components(file, self.format):
                found.append(f"{file} gives six components of the {key}: read in the order {VOIGT}")
        return found

    def format_key(self) -> list[Any]:
        return [self.format]


@dataclass(frozen=True)
class AseReader:
    """Any format of ASE's."""

    format: str | None

    def count(self, file: str) -> int | None:
        from e3frame.data.formats.frames import count_frames

        return count_frames(file, self.format)

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Held]:
        from e3frame.data.formats.frames import held_frames

        return held_frames(file, self.format, frames, size)

    def read(self, file: str, portion: Held) -> Iterator[tuple[int, Atoms | DataError]]:
        from e3frame.data.formats.frames import read_held

        return read_held(file, portion)
