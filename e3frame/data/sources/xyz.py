"""``data=xyz``: your own files, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from e3frame.data.sources.files import FilesSpec, expanded

if TYPE_CHECKING:
    from e3frame.data.formats.ase_files import Held
    from e3frame.data.formats.portions import Frame


class XyzSpec(FilesSpec):
    """Frames of files that ASE reads: extended xyz, ASE trajectories, VASP, CP2K, ... ; periodic or not."""

    kind: Literal["xyz"] = "xyz"
    format: str | None = None
    """ASE's name of the format; null: detect it from the file's name and content."""

    def stated(self, file: str) -> Mapping[str, Any]:
        from e3frame.data.formats.ase_files import stated_units

        return stated_units(file, self.format)

    def remarks(self) -> list[str]:
        from e3frame.data.formats.ase_files import six_components
        from e3frame.data.formats.xyz_header import VOIGT

        found = super().remarks()
        for file in expanded(self.path):
            for key in six_components(file, self.format):
                found.append(f"{file} has six components of the {key}; they are read in the order {VOIGT}")
        return found

    def count(self, file: str) -> int | None:
        from e3frame.data.formats.ase_files import count_frames

        return count_frames(file, self.format)

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Held]:
        from e3frame.data.formats.ase_files import held_frames

        return held_frames(file, self.format, frames, size)

    def frames(self, file: str, portion: Held) -> Iterator[Frame]:
        from e3frame.data.formats.ase_files import read_held

        return read_held(file, portion)
