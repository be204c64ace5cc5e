"""``data=xyz``: one's own files, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from e3frame.data.base import RESERVED, DataSpec, Label
from e3frame.data.splitting import SplitSpec
from e3frame.data.units import DIMENSIONS, Units
from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import DataError, nearest

if TYPE_CHECKING:
    from e3frame.data.dataset import GraphDataset, Splits
    from e3frame.data.graphs import Graph


def _paths(raw: Any) -> Any:
    paths = [raw] if isinstance(raw, str | Path) else raw
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(p, str | Path) and str(p) for p in paths):
        raise mistake(f"a file or a list of files is required, got {shown(raw)}")
    return tuple(map(str, paths))


def _required_paths(raw: Any) -> Any:
    if raw is None:
        raise mistake("data.path is required: the file or files to read", "for example data.path=train.xyz")
    return _paths(raw)


def _optional_paths(raw: Any) -> Any:
    return None if raw is None else _paths(raw)


class XyzSpec(DataSpec):
    """Frames of files that ASE reads: extended xyz, ASE trajectories, VASP, CP2K, ... ; periodic or not."""

    kind: Literal["xyz"] = "xyz"
    path: Annotated[tuple[str, ...], BeforeValidator(_required_paths)] = Field(default=None, validate_default=True)
    """The file, or a list of files, relative to the current directory; ``*`` and ``?`` match several."""
    val_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files of all validation frames; null: they are split off ``path``."""
    test_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files of all test frames; null: they are split off ``path``."""
    format: str | None = None
    """ASE's name of the format; null: by the file's name and content."""
    keys: dict[str, str] = {"energy": "energy", "forces": "forces"}  # noqa: RUF012
    """Label: the key that holds it in the files. Only labels that the model learns are read."""
    units: Units = Units()
    """Units of the files."""
    split: SplitSpec = SplitSpec()
    """How ``path`` is divided."""

    @field_validator("keys")
    @classmethod
    def _names(cls, keys: dict[str, str]) -> dict[str, str]:
        for name in keys:
            if name in RESERVED or not name.isidentifier():
                raise mistake(f"no label can be called {shown(name)}", f"taken: {', '.join(sorted(RESERVED))}")
        return keys

    @model_validator(mode="after")
    def _one_source(self) -> XyzSpec:
        for name in self._elsewhere():
            if getattr(self.split, name) is not None:
                raise mistake(
                    f"both {name}_path and split.{name} are given: all frames of {name}_path are taken",
                    f"leave out split.{name}, or {name}_path",
                )
        return self

    @model_validator(mode="after")
    def _units_of_all(self) -> XyzSpec:
        unknown = [name for name in self.keys if name not in DIMENSIONS]
        if unknown and self.units != Units():
            raise mistake(
                f"units convert {', '.join(DIMENSIONS)} alone; it is not known what '{unknown[0]}' is",
                f"if it is an energy, write keys: {{energy: {self.keys[unknown[0]]}}}",
            )
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.keys)

    @property
    def known_species(self) -> None:
        return None

    def load(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        from e3frame.data.dataset import Splits

        whole = self.read(self.path, r_max, labels)
        try:
            parts = self.split.divide(len(whole), self._elsewhere())
        except DataError as error:
            raise DataError(error.problem, file=", ".join(self.path), hint=error.hint) from None
        chosen = {name: whole[indices] if len(indices) else None for name, indices in parts.items()}
        for name in self._elsewhere():
            chosen[name] = self.read(getattr(self, f"{name}_path"), r_max, labels)
        return Splits(**chosen)

    def read(self, paths: Sequence[str], r_max: float, labels: Mapping[str, Label]) -> GraphDataset:
        """All frames of ``paths``, in order, with just these labels; processed once and then kept on disk."""
        from e3frame.data.dataset import content_key, load_or_build

        self.require_declared(labels)
        files = _expanded(paths)
        wanted = {name: (self.keys[name], *label) for name, label in sorted(labels.items())}
        key = content_key(files, [r_max, self.format, self.units.model_dump(), wanted])
        path = self.cache_folder() / f"xyz-{key}.safetensors"
        return load_or_build(path, files, r_max, self._graphs(files, r_max, labels))

    def _elsewhere(self) -> frozenset[str]:
        return frozenset(name for name in ("val", "test") if getattr(self, f"{name}_path") is not None)

    def _graphs(self, files: Sequence[str], r_max: float, labels: Mapping[str, Label]) -> Iterator[Graph]:
        from e3frame.data.frames import read_frames, read_label
        from e3frame.data.graphs import make_graph

        for number, file in enumerate(files):
            for frame, atoms in enumerate(read_frames(file, self.format, self.units)):
                values = {
                    name: read_label(atoms, name, self.keys[name], label, file, frame) * self.units.label_factor(name)
                    for name, label in labels.items()
                }
                try:
                    yield make_graph(atoms, r_max, values, frame, number)
                except ValueError as error:
                    raise DataError(str(error), file=file, frame=frame) from error


def _expanded(paths: Sequence[str]) -> list[str]:
    """Existing files, patterns expanded in alphabetical order.

    Raises:
        DataError: a file that is not there (with the nearest name that is), or a pattern that matches none.
    """
    files: list[str] = []
    for written in paths:
        path = Path(written).expanduser()
        if path.is_dir():
            raise DataError("is a folder, not a file", file=path, hint=f"all its files: {path}/*")
        if path.exists():
            files.append(str(path))
        elif matches := sorted(match for match in glob(str(path)) if Path(match).is_file()):
            files += matches
        elif any(sign in written for sign in "*?["):
            raise DataError("no file matches", file=path)
        else:
            match = nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
            raise DataError("no such file", file=path, hint=f"did you mean {path.parent / match}?" if match else None)
    return files
