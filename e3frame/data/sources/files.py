"""Common part of all sources that read files: paths, keys, units and splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from e3frame.data.formats.stated_units import combined
from e3frame.data.sources.base import TASKS_WITHOUT, DividedSpec
from e3frame.data.sources.edge_labels import EdgeLabelSpec
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.opened import require_file
from e3frame.files.regular import with_home
from e3frame.spec.base import mistake, mistake_at, shown
from e3frame.spec.errors import DataError, SpecError, did_you_mean
from e3frame.spec.quantities import RESERVED
from e3frame.spec.units import Units, converted


def _paths(raw: Any) -> Any:
    paths = [raw] if isinstance(raw, str | Path) else raw
    if not isinstance(paths, list | tuple) or not paths or "" in paths:
        raise mistake(f"a file or a list of files is required, got {shown(raw)}")
    return tuple(str(path) if isinstance(path, Path) else path for path in paths)


def _required_paths(raw: Any) -> Any:
    if raw is None:
        raise mistake("data.path is required: the file or files to read", "for example data.path=train.xyz")
    return _paths(raw)


def _optional_paths(raw: Any) -> Any:
    return None if raw is None else _paths(raw)


class FilesSpec(DividedSpec):
    """Frames in files of the user. A format is a subclass with a ``kind`` and :meth:`~DataSpec.read`."""

    path: Annotated[tuple[str, ...], BeforeValidator(_required_paths)] = Field(default=None, validate_default=True)
    """File, or list of files, relative to the current directory; ``*`` and ``?`` match several."""
    val_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files with all validation frames; null: split them off ``path``."""
    test_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files with all test frames; null: split them off ``path``."""
    keys: dict[str, str] = {"energy": "energy", "forces": "forces"}  # noqa: RUF012
    """Key of each label in the files, as {label: key}. Only labels that the model learns are read. ``virial: KEY``
    gives the stress as -virial / volume."""
    edges: dict[str, EdgeLabelSpec] = {}  # noqa: RUF012
    """Labels per pair of atoms: ``{couplings: {index: J_pairs}}`` names the key with the pairs of ``couplings``."""
    allow_missing: tuple[str, ...] = ()
    """Labels that some frames may lack; other missing labels are errors."""
    units: Units = Units()
    """Units of the files."""

    part: ClassVar[float] = 1.0  # broken frames outside of all splits are allowed

    @field_validator("keys")
    @classmethod
    def _names(cls, keys: dict[str, str]) -> dict[str, str]:
        for name in keys:
            if name in RESERVED or not name.isidentifier():
                raise mistake(
                    f"{shown(name)} is a reserved name; rename this label", f"reserved: {', '.join(sorted(RESERVED))}"
                )
        if "stress" in keys and "virial" in keys:
            raise mistake("stress and virial both define the stress", "remove one of them")
        return keys

    @model_validator(mode="after")
    def _one_source(self) -> FilesSpec:
        for name in self.elsewhere:
            for key in (name, f"{name}_index"):
                if getattr(self.split, key) is not None:
                    raise mistake(
                        f"{name}_path and split.{key} exclude each other: all frames of {name}_path are used",
                        f"remove split.{key} or {name}_path",
                    )
        return self

    @model_validator(mode="after")
    def _units_of_all(self) -> FilesSpec:
        unknown = [name for name in self.keys if name not in converted()]
        if unknown and (self.units.length or "Å", self.units.energy or "eV") != ("Å", "eV"):
            raise mistake(
                f"only units of {', '.join(converted())} can be converted; the unit of '{unknown[0]}' is unknown",
                f"if it is an energy, name it so: keys: {{energy: {self.keys[unknown[0]]}}}",
            )
        return self

    @model_validator(mode="after")
    def _units_of_keys(self) -> FilesSpec:
        for label, unit in self.units.of_labels.items():
            if label not in self.keys:
                hint = f"set data.keys.{label}, or remove data.units.{label}"
                raise mistake_at(("units", label), unit, mistake(f"{label} has a unit ({unit}), but no key", hint))
        return self

    @model_validator(mode="after")
    def _edges_of_keys(self) -> FilesSpec:
        for name in self.edges:
            if name not in self.keys:
                hint = did_you_mean(name, self.keys, "keys")
                raise mistake_at("edges", name, mistake(f"data.keys has no label {shown(name)}", hint))
        if self.edges and (self.neighbors == "computed" or self.augment is not None):
            key = "neighbors: computed" if self.neighbors == "computed" else "augment"
            raise mistake(f"labels per edge need stored neighbours, but {key} recomputes them", f"remove {key}")
        return self

    @model_validator(mode="after")
    def _missing_of_some(self) -> FilesSpec:
        for name in self.allow_missing:
            if name not in self.label_names:
                hint = did_you_mean(name, self.label_names, "labels")
                raise mistake_at("allow_missing", name, mistake(f"no label is named {shown(name)}", hint))
        return self

    @classmethod
    def _common_fields(cls) -> set[str]:
        return {*FilesSpec.model_fields}

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple("stress" if name == "virial" else name for name in self.keys)

    @property
    def known_species(self) -> None:
        return None

    @property
    def label_keys(self) -> Mapping[str, str]:
        return self.keys

    @property
    def edge_labels(self) -> Mapping[str, EdgeLabelSpec]:
        return self.edges

    @property
    def may_lack(self) -> tuple[str, ...]:
        return self.allow_missing

    @property
    def file_units(self) -> Units:
        return self.units

    @property
    def paths(self) -> tuple[str, ...]:
        return self.path

    def stated(self, file: str) -> Mapping[str, Any]:
        """Return the units that a file states, by the file's keys, for
        :func:`e3frame.data.formats.stated_units.statements`."""
        return {}

    def found_units(self, files: Sequence[str] | None = None) -> Units:
        """Return the units of some files (None: those of ``path``), as set by the user or else stated by the files.

        Raises:
            DataError: a file contradicts the user, or another file.
        """
        files = expanded(self.path) if files is None else files
        found = [combined(self.units, self.stated(file), self.keys, file) for file in files]
        for file, units in zip(files, found, strict=True):
            if units != found[0]:
                hint = "use path, val_path and test_path for them, or convert all to the same units"
                raise DataError(f"states other units than {files[0]}", file=file, hint=hint)
        return found[0] if found else self.units

    def remarks(self) -> list[str]:
        found = []
        for paths in filter(None, (self.path, self.val_path, self.test_path)):
            stated = self.found_units(expanded(paths))
            units = {name: unit for name, unit in stated if unit is not None and self.units.unit_of(name) is None}
            if units:
                listed = ", ".join(f"{name} in {unit}" for name, unit in units.items())
                found.append(f"{', '.join(paths)} states its units, which are used: {listed}")
        return found

    def idle(self, asked: Collection[str], way: Callable[[str], str]) -> Iterator[SpecError]:
        default = type(self).model_fields["keys"].default
        for name, key in self.keys.items():
            label = "stress" if name == "virial" else name
            if label in asked:
                continue
            if default.get(name) != key:
                yield SpecError(("keys", name), f"no target or input uses '{label}', so it is not read", way(label))
            if name in self.units.of_labels:
                yield SpecError(
                    ("units", name), f"no target or input uses '{label}', so its unit is not used", "remove it"
                )
            if name in self.edges:
                yield SpecError(
                    ("edges", name), f"no target or input uses '{label}', so its pairs are not read", "remove it"
                )
        for label in self.allow_missing:
            if label not in asked:
                hint = f"remove it, or {way(label)}"
                yield SpecError(("allow_missing",), f"no target or input uses '{label}', so no frame needs it", hint)
        for error in self.split.idle(self.elsewhere):
            yield error.under("split")

    def files_read(self) -> list[str]:
        paths = [self.path, self.val_path or (), self.test_path or (), self.split.index_files]
        return list(dict.fromkeys(file for some in paths for file in expanded(some)))

    def key_of(self, label: str) -> str:
        key = self.keys.get(label) or self.keys["virial"]
        return f"{key} of {self.edges[label].index}" if label in self.edges else key

    def _source_of(self, label: str) -> str:
        task = TASKS_WITHOUT.get(label)
        return f"if the files have it: data.keys.{label}=KEY" + (f"; to train without it: {task}" if task else "")

    def lenient(self, labels: Collection[str]) -> Self:
        plain = self.units == Units()  # in other units, the unit of an unknown label is unknown
        new = [name for name in labels if name not in self.label_names and (plain or name in converted())]
        keys = self.keys | {name: name for name in new if name.isidentifier() and name not in RESERVED}
        lenient = self.replace(keys=keys)
        return lenient.replace(allow_missing=lenient.label_names)

    @property
    def is_divided(self) -> bool:
        return self.split != SplitSpec() or bool(self.test_path)

    @property
    def elsewhere(self) -> frozenset[str]:
        return frozenset(name for name in ("val", "test") if getattr(self, f"{name}_path") is not None)

    def file_sets(self) -> Mapping[str, tuple[str, ...]]:
        paths = {name: getattr(self, f"{name}_path") for name in sorted(self.elsewhere)}
        return {name: expanded(some) for name, some in {"train": self.path, **paths}.items()}

    def contents(self, files: Sequence[str]) -> Sequence[str]:
        return files


def expanded(paths: Sequence[str]) -> tuple[str, ...]:
    """Return existing files, with patterns expanded in alphabetical order.

    Raises:
        DataError: a file does not exist (the hint is the nearest existing name), or a pattern matches no file.
    """
    files: list[str] = []
    for written in paths:
        path = with_home(written)
        matches = [] if os.path.lexists(path) else sorted(filter(os.path.isfile, glob(str(path))))
        if not matches and any(sign in written for sign in "*?[") and not os.path.lexists(path):
            raise DataError("no file matches", file=path)
        for found in matches or [str(path)]:
            require_file(found)
            files.append(found)
    return tuple(files)
