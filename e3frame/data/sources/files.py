"""What all sources that are files have in common: paths, keys, units, splits, and what is kept of them on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from e3frame.data.formats.stated import combined
from e3frame.data.sources.base import TASKS_WITHOUT, DataSpec, Label
from e3frame.data.sources.edge_keys import EdgeKeys
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.opened import require_file
from e3frame.files.regular import with_home
from e3frame.spec.base import mistake, mistake_at, shown
from e3frame.spec.errors import DataError, SpecError, did_you_mean
from e3frame.spec.layer import RESERVED
from e3frame.spec.units import DIMENSIONS, Units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from e3frame.data.pipeline.dataset import Splits
    from e3frame.data.pipeline.frameset import FrameSet
    from e3frame.data.pipeline.prepare import Reader, Recipe
    from e3frame.data.pipeline.sampled import Sample, Source
    from e3frame.preflight.broken import Survey


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


class FilesSpec(DataSpec):
    """Frames of files. A kind of files is a subclass with its :meth:`reader`, and what it needs to know of them."""

    path: Annotated[tuple[str, ...], BeforeValidator(_required_paths)] = Field(default=None, validate_default=True)
    """The file, or a list of files, relative to the current directory; ``*`` and ``?`` match several."""
    val_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files of all validation frames; null: they are split off ``path``."""
    test_path: Annotated[tuple[str, ...] | None, BeforeValidator(_optional_paths)] = None
    """Files of all test frames; null: they are split off ``path``."""
    keys: dict[str, str] = {"energy": "energy", "forces": "forces"}  # noqa: RUF012
    """Label: the key that holds it in the files. Only labels that the model learns are read. A key for ``virial``
    in place of ``stress`` gives the stress as -virial / volume."""
    edges: dict[str, EdgeKeys] = {}  # noqa: RUF012
    """Labels of pairs of atoms: ``{couplings: {index: J_pairs}}``, the key of the pairs that the rows of ``couplings``
    are of."""
    allow_missing: tuple[str, ...] = ()
    """Labels that some frames may lack; by default that is an error."""
    units: Units = Units()
    """Units of the files."""
    split: SplitSpec = SplitSpec()
    """How ``path`` is divided."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that read the files and find neighbours; null: one per core."""

    @field_validator("keys")
    @classmethod
    def _names(cls, keys: dict[str, str]) -> dict[str, str]:
        for name in keys:
            if name in RESERVED or not name.isidentifier():
                raise mistake(f"no label can be called {shown(name)}", f"taken: {', '.join(sorted(RESERVED))}")
        if "stress" in keys and "virial" in keys:
            raise mistake("the stress is given twice, by stress and by virial", "leave one of them out")
        return keys

    @model_validator(mode="after")
    def _one_source(self) -> FilesSpec:
        for name in self._elsewhere():
            for key in (name, f"{name}_index"):
                if getattr(self.split, key) is not None:
                    raise mistake(
                        f"both {name}_path and split.{key} are given: all frames of {name}_path are taken",
                        f"leave out split.{key}, or {name}_path",
                    )
        return self

    @model_validator(mode="after")
    def _units_of_all(self) -> FilesSpec:
        unknown = [name for name in self.keys if name not in DIMENSIONS]
        if unknown and (self.units.length or "Å", self.units.energy or "eV") != ("Å", "eV"):
            raise mistake(
                f"units convert {', '.join(DIMENSIONS)} alone; it is not known what '{unknown[0]}' is",
                f"if it is an energy, write keys: {{energy: {self.keys[unknown[0]]}}}",
            )
        return self

    @model_validator(mode="after")
    def _units_of_keys(self) -> FilesSpec:
        for label, unit in self.units.of_labels.items():
            if label not in self.keys:
                hint = f"give data.keys.{label}, or leave data.units.{label} out"
                raise mistake_at(("units", label), unit, mistake(f"{label} is in {unit}, but no key holds it", hint))
        return self

    @model_validator(mode="after")
    def _edges_of_keys(self) -> FilesSpec:
        for name in self.edges:
            if name not in self.keys:
                hint = did_you_mean(name, self.keys, "keys")
                raise mistake_at("edges", name, mistake(f"data.keys has no label {shown(name)}", hint))
        if self.edges and (self.neighbors == "computed" or self.augment is not None):
            key = "neighbors: computed" if self.neighbors == "computed" else "augment"
            raise mistake(f"labels of edges belong to stored neighbours, {key} finds them anew", f"leave out {key}")
        return self

    @model_validator(mode="after")
    def _missing_of_some(self) -> FilesSpec:
        for name in self.allow_missing:
            if name not in self.label_names:
                hint = did_you_mean(name, self.label_names, "labels")
                raise mistake_at("allow_missing", name, mistake(f"there is no label {shown(name)}", hint))
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple("stress" if name == "virial" else name for name in self.keys)

    @property
    def file_units(self) -> Units:
        return self.units

    def stated(self, file: str) -> Mapping[str, Any]:
        """What a file says of its units, under its own names (:func:`e3frame.data.formats.stated.statements`)."""
        return {}

    def found_units(self, files: Sequence[str] | None = None) -> Units:
        """Units of some files (None: those of ``path``): what the user gave, else what they state.

        Raises:
            DataError: one contradicts the user, or another one.
        """
        files = expanded(self.path) if files is None else files
        found = [combined(self.units, self.stated(file), self.keys, file) for file in files]
        for file, units in zip(files, found, strict=True):
            if units != found[0]:
                hint = "read them one by one, as path, val_path and test_path, or give all in the same units"
                raise DataError(f"states other units than {files[0]}", file=file, hint=hint)
        return found[0] if found else self.units

    def remarks(self) -> list[str]:
        found = []
        for paths in filter(None, (self.path, self.val_path, self.test_path)):
            files = expanded(paths)
            said = self.found_units(files)
            units = {name: unit for name, unit in said if unit is not None and getattr(self.units, name) is None}
            if units:
                told = ", ".join(f"{name} in {unit}" for name, unit in units.items())
                found.append(f"{', '.join(paths)} states its units: {told}; read so")
        return found

    @property
    def edge_labels(self) -> Mapping[str, EdgeKeys]:
        return self.edges

    def idle(self, asked: Collection[str], way: Callable[[str], str]) -> Iterator[SpecError]:
        default = type(self).model_fields["keys"].default
        for name, key in self.keys.items():
            label = "stress" if name == "virial" else name
            if label in asked:
                continue
            if default.get(name) != key:
                yield SpecError(("keys", name), f"nobody learns '{label}', so it is not read", way(label))
            if name in self.units.of_labels:
                yield SpecError(("units", name), f"nobody learns '{label}', so its unit is not used", "leave it out")
            if name in self.edges:
                yield SpecError(("edges", name), f"nobody learns '{label}', so its pairs are not read", "leave it out")
        for label in self.allow_missing:
            if label not in asked:
                hint = f"leave it out, or {way(label)}"
                yield SpecError(("allow_missing",), f"nobody learns '{label}', so no frame needs it", hint)
        for error in self.split.idle(self._elsewhere()):
            yield error.under("split")

    def files_read(self) -> list[str]:
        paths = [self.path, self.val_path or (), self.test_path or (), self.split.index_files]
        return list(dict.fromkeys(file for some in paths for file in expanded(some)))

    def key_of(self, label: str) -> str:
        key = self.keys.get(label) or self.keys["virial"]
        return f"{key} of {self.edges[label].index}" if label in self.edges else key

    def _source_of(self, label: str) -> str:
        task = TASKS_WITHOUT.get(label)
        return f"if the files hold it: data.keys.{label}=KEY" + (f"; to do without: {task}" if task else "")

    @property
    def known_species(self) -> None:
        return None

    def sample(self, r_max: float, labels: Mapping[str, Label]) -> Sample:
        from e3frame.data.pipeline.sampled import Sample, are_few

        sources = self._sources(r_max, labels)
        found = None if are_few(sources) else self._sampled(sources)
        return found or Sample.whole(self.load(r_max, labels))

    def _sampled(self, sources: Sequence[Source]) -> Sample | None:
        """None where all frames must be read."""
        import numpy as np

        from e3frame.data.pipeline.sampled import Sample

        sets: dict[str, FrameSet] = {}
        totals: dict[str, int] = {}
        for source in sources:
            sets |= source.taken(self.processes)
            totals |= source.totals
        if self.split.method == "group":  # the groups are known now, and those of some frames are divided as all are
            whole, total = sets.pop("train"), totals.pop("train")
            groups = whole.stacked("group").numpy()
            totals = self.split.sizes(total, self._elsewhere()) | totals
            if len(np.unique(groups)) < len(totals):
                return None
            parts = self._divided(total, groups)
            sets |= {name: whole[part] for name, part in parts.items() if len(part)}
        return Sample.of(sets, totals)

    def survey(self, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey:
        from e3frame.data.pipeline.sampled import are_few
        from e3frame.preflight.broken import survey

        sources = self._sources(r_max, labels)
        whole = full or are_few(sources)
        return survey([self._part(source) if whole else source.thinned().recipe for source in sources], self.processes)

    def _sources(self, r_max: float, labels: Mapping[str, Label]) -> list[Source]:
        """What is read of ``path``, and of the files of other splits.

        Raises:
            DataError: a file or a list that is not there, or a split that does not fit the frames.
        """
        import numpy as np

        from e3frame.data.pipeline.sampled import Source

        sources = []
        for name in ("train", *sorted(self._elsewhere())):
            recipe = self.recipe(self.path if name == "train" else getattr(self, f"{name}_path"), r_max, labels)
            total = recipe.total()
            if total is None:
                parts = None
            elif name != "train" or self.split.method == "group":
                parts = {name: np.arange(total)}
            else:
                parts = self._divided(total)
            sources.append(Source(recipe, parts))
        return sources

    def _part(self, source: Source) -> Recipe:
        """A source's recipe, of which some frames may be in no split."""
        import numpy as np

        if source.parts is None or not self.split.takes_few or "train" not in source.parts:
            return source.recipe
        return replace(source.recipe, chosen=np.sort(np.concatenate(list(source.parts.values()))))

    def reader(self, labels: Mapping[str, Label] = MappingProxyType({})) -> Reader:
        """What reads the files, and these labels of them."""
        raise NotImplementedError(f"{type(self).__name__}.reader")

    def format_key(self) -> list[Any]:
        """Of all options, those that change what :meth:`reader` gives."""
        raise NotImplementedError(f"{type(self).__name__}.format_key")

    def load(self, r_max: float, labels: Mapping[str, Label], all_there: bool = True) -> Splits:
        """As :meth:`DataSpec.load`.

        Args:
            all_there: each of the labels that may be missing must be there in some frame.
        """
        import numpy as np

        from e3frame.data.pipeline.dataset import Splits

        for name in self._elsewhere():  # what is not there is told before anything is read
            expanded(getattr(self, f"{name}_path"))
        total = self.recipe(self.path, r_max, labels).total() if self.split.takes_few else None
        if total is None:
            whole = self.read(self.path, r_max, labels, all_there=all_there)
            parts = self._divided(len(whole), whole.stacked("group").numpy() if whole.has("group") else None)
        else:
            parts = self._divided(total)
            chosen = np.sort(np.concatenate(list(parts.values())))
            whole = self.read(self.path, r_max, labels, chosen, all_there)
            parts = {name: np.searchsorted(chosen, part) for name, part in parts.items()}
        splits = {name: whole[indices] if len(indices) else None for name, indices in parts.items()}
        for name in self._elsewhere():
            splits[name] = self.read(getattr(self, f"{name}_path"), r_max, labels, all_there=all_there)
        return Splits(**splits)

    def _divided(self, total: int, groups: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        try:
            return self.split.divide(total, self._elsewhere(), groups)
        except DataError as error:
            raise type(error)(error.problem, file=error.file or ", ".join(self.path), hint=error.hint) from None

    def read(
        self,
        paths: Sequence[str],
        r_max: float,
        labels: Mapping[str, Label],
        chosen: NDArray[np.int64] | None = None,
        all_there: bool = True,
    ) -> FrameSet:
        """All frames of ``paths``, or those chosen, in order, with just these labels; processed once and then kept on
        disk."""
        from e3frame.data.pipeline.dataset import content_key, load_or_build
        from e3frame.data.pipeline.prepare import prepared

        recipe = replace(self.recipe(paths, r_max, labels), chosen=chosen)
        path = self.cache_folder() / f"{self.kind}-{content_key(recipe.files, self._options(recipe))}.safetensors"
        dataset = load_or_build(path, recipe.files, lambda: prepared(recipe, self.processes), r_max, self.storage)
        for name in set(labels) & set(self.allow_missing) if all_there else ():
            if all(block.values[name].isnan().all() for block in dataset.blocks(name)):
                raise DataError(f"no frame has the label {name}", file=", ".join(recipe.files))
        return dataset

    def recipe(self, paths: Sequence[str], r_max: float, labels: Mapping[str, Label]) -> Recipe:
        """How the graphs of ``paths`` are made.

        Raises:
            DataError: a label that is not declared, or a file that is not there.
        """
        from e3frame.data.pipeline.labels import LabelReader
        from e3frame.data.pipeline.prepare import Recipe

        self.require_declared(labels)
        files = expanded(paths)
        units = self.found_units(files)
        values = LabelReader(dict(sorted(labels.items())), self.keys, units, self.allow_missing, self.edges)
        group = self.split.key if self.split.method == "group" else None
        stored = self.neighbors == "stored"
        apart = "isolated_atoms" in self.allow
        return Recipe(self.reader(labels), tuple(files), r_max, values, group, edges=stored, isolated=apart)

    def _options(self, recipe: Recipe) -> list[Any]:
        """What the graphs depend on besides the files' bytes."""
        labels = recipe.labels
        keys = {n: self.keys.get(n, self.keys.get("virial")) for n in labels.labels}
        wanted: dict[str, tuple] = {
            name: (name in self.keys, keys[name], *label) for name, label in labels.labels.items()
        }
        for name in wanted.keys() & self.edges.keys():
            wanted[name] += (self.edges[name].model_dump(),)
        missing = sorted(set(labels.labels) & set(self.allow_missing))
        chosen = None if recipe.chosen is None else recipe.chosen.tolist()
        bare = ([] if recipe.edges else ["edges"]) + (["isolated"] if recipe.isolated else [])
        units = labels.units.replace(length=labels.units.length or "Å", energy=labels.units.energy or "eV").model_dump()
        return [recipe.r_max, self.format_key(), units, wanted, missing, recipe.group, chosen, *bare]

    def _elsewhere(self) -> frozenset[str]:
        return frozenset(name for name in ("val", "test") if getattr(self, f"{name}_path") is not None)


def expanded(paths: Sequence[str]) -> list[str]:
    """Existing files, patterns expanded in alphabetical order.

    Raises:
        DataError: a file that is not there (with the nearest name that is), or a pattern that matches none.
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
    return files
