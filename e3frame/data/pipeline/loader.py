"""Loads training, validation and test frames from a source of data.

A spec declares what to read and how to split it; this loader does it for all kinds of sources: it reads in several
processes, converts units, finds neighbours, caches the prepared frames, and samples frames for quick checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.data.formats.frame_keys import present_keys
from e3frame.data.pipeline.dataset import GraphDataset, Splits, content_key, load_or_build
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.labels import LabelReader
from e3frame.data.pipeline.preparation import Chunk, Recipe, prepared
from e3frame.data.sources.base import DataSpec, Label
from e3frame.spec.errors import DataError
from e3frame.spec.units import Units

TRAIN, OTHERS = 500, 250
"""Sample sizes: training frames (besides those adjacent to frames of other splits), and frames of each other split."""

Places = Mapping[str, NDArray[np.int64]]
"""Numbers of the frames of each split, in ascending order."""


def load(spec: DataSpec, r_max: float, labels: Mapping[str, Label], all_there: bool = True) -> Splits:
    """Load the graphs of a source, with neighbours within ``r_max`` (Å) and these labels.

    Prepared frames are stored in the source's cache folder and read from there the next time.

    Args:
        all_there: whether at least one frame must have each label that frames may lack.

    Raises:
        DataError: the data have an error; the message gives file and frame.
    """
    source = _resolved(spec, labels)
    files = source.file_sets()
    whole, places = _divided(source, recipe_of(source, r_max, labels, files["train"]), all_there)
    splits = {name: whole[indices] if len(indices) else None for name, indices in places.items()}
    for name, own in files.items():
        if name != "train":
            splits[name] = prepare(source, recipe_of(source, r_max, labels, own), all_there)
    return Splits.of(splits)


def _resolved(spec: DataSpec, labels: Mapping[str, Label]) -> DataSpec:
    spec.require_declared(labels)  # before anything is downloaded
    return spec.resolved()


def recipe_of(
    source: DataSpec, r_max: float, labels: Mapping[str, Label], files: Sequence[str] | None = None
) -> Recipe:
    """Return the recipe for the graphs of all frames of ``files`` (None: the training files).

    Raises:
        DataError: the units that the files state contradict the user's.
    """
    files = source.file_sets()["train"] if files is None else files
    held = dict(sorted({**labels, **source.prepared_labels}.items()))
    units = source.found_units(files) or Units()
    reader = LabelReader(held, source.label_keys, units, source.may_lack, source.edge_labels)
    stored = source.neighbors == "stored"
    return Recipe(source, tuple(files), r_max, reader, piece=source.piece, edges=stored)


def prepare(
    source: DataSpec, recipe: Recipe, all_there: bool = True, check: Callable[[], object] = lambda: None
) -> FrameSet:
    """Return the frames of a recipe in order, from the cache if they are there; otherwise they are made and cached.

    Args:
        check: called before frames are made; may raise.
    """

    def make() -> Iterable[Chunk]:
        check()
        return prepared(recipe, source.processes)

    key = content_key(source.contents(recipe.files), _options(source, recipe))
    path = source.cache_folder() / f"{source.kind}-{key}.safetensors"
    dataset = load_or_build(path, recipe.files, make, recipe.r_max, source.storage)
    for name in set(recipe.labels.labels) & set(source.may_lack) if all_there else ():
        if all(block.values[name].isnan().all() for block in dataset.blocks(name)):
            raise DataError(f"no frame has the label {name}", file=", ".join(recipe.files))
    return dataset


def _options(source: DataSpec, recipe: Recipe) -> list[Any]:
    """Return the options, besides the files' bytes, that the graphs depend on, as JSON values."""
    labels, keys = recipe.labels, source.label_keys
    wanted: dict[str, tuple[Any, ...]] = {
        name: (name in keys, keys.get(name, keys.get("virial")), *label) for name, label in labels.labels.items()
    }
    for name in wanted.keys() & source.edge_labels.keys():
        wanted[name] += (source.edge_labels[name].model_dump(),)
    missing = sorted(set(labels.labels) & set(source.may_lack))
    chosen = None if recipe.chosen is None else recipe.chosen.tolist()
    isolated = "isolated_atoms" in source.allow
    bare = ([] if recipe.edges else ["edges"]) + (["isolated"] if isolated else [])
    units = labels.units.replace(length=labels.units.length or "Å", energy=labels.units.energy or "eV").model_dump()
    return [recipe.r_max, source.read_options(), units, wanted, missing, source.group_key, chosen, *bare]


def _divided(source: DataSpec, recipe: Recipe, all_there: bool) -> tuple[FrameSet, Places]:
    """Return the prepared frames, and the indices of each split in them."""
    total = recipe.total() if source.takes_few else None

    def check() -> None:
        if source.group_key is None and (total := recipe.total() or 0) > recipe.piece:
            source.divide(total)  # raise for a split that does not fit before many frames are made

    if total is None:
        whole = prepare(source, recipe, all_there, check)
        return whole, source.divide(len(whole), whole.stacked("group").numpy() if whole.has("group") else None)
    places = source.divide(total)
    chosen = _taken(source, places, total)
    whole = prepare(source, replace(recipe, chosen=chosen), all_there)
    if chosen is not None:
        places = {name: np.searchsorted(chosen, part) for name, part in places.items()}
    return whole, places


def _taken(source: DataSpec, places: Places, total: int) -> NDArray[np.int64] | None:
    """Return the frames of all splits if only these are prepared; None if all frames of the files are."""
    taken = np.sort(np.concatenate(list(places.values())))
    return taken if source.takes_few and len(taken) <= source.part * total else None


class Excerpt(NamedTuple):
    """A sample of each split, and the full sizes of the splits."""

    splits: Splits
    totals: dict[str, int]

    @classmethod
    def whole(cls, splits: Splits) -> Excerpt:
        """Make an excerpt of all frames."""
        return cls(splits, {name: len(dataset) for name, dataset in splits.items()})


def excerpt(spec: DataSpec, r_max: float, labels: Mapping[str, Label]) -> Excerpt:
    """Load a sample of each split for quick checks, or all frames if they are few; arguments as for :func:`load`."""
    source = _resolved(spec, labels)
    plans = _plans(source, r_max, labels)
    if not _are_few(plans):
        sets: dict[str, FrameSet] = {}
        totals: dict[str, int] = {}
        for plan in plans:
            sets |= plan.thinned_frames(source.processes)
            totals |= plan.totals
        found = _regrouped(source, sets, totals) if source.group_key is not None else (sets, totals)
        # An element that the sampled training frames lack may be in the other training frames.
        if found is not None and _knows_all(found[0]):
            return Excerpt(Splits.of(found[0]), found[1])
    return Excerpt.whole(load(source, r_max, labels))


class Survey(NamedTuple):
    """Valid frames of some files, and the errors of the others."""

    sound: list[Chunk]
    broken: list[DataError]
    files: list[str]


def survey(spec: DataSpec, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey:
    """Prepare every frame that :func:`excerpt` (``full``: :func:`load`) reads, and collect the errors of broken ones.

    Raises:
        DataError: a file cannot be read at all.
    """
    source = _resolved(spec, labels)
    plans = _plans(source, r_max, labels)
    whole = full or _are_few(plans)
    return surveyed([plan.recipe if whole else plan.thinned().recipe for plan in plans], source.processes)


def surveyed(recipes: Iterable[Recipe], processes: int | None = None) -> Survey:
    """Prepare every frame of some recipes, and collect the errors of broken ones."""
    found = Survey([], [], [])
    for recipe in recipes:
        for chunk in prepared(replace(recipe, tolerant=True), processes):
            found.broken.extend(chunk.broken)
            if chunk.values:
                chunk.values["file"] += len(found.files)
                found.sound.append(chunk)
        found.files.extend(recipe.files)
    return found


def first_frame(spec: DataSpec) -> dict[str, Any]:
    """Return the values of the first frame by key, in the units of its file; empty if it cannot be read."""
    source = spec.resolved()
    file = source.file_sets()["train"][0]
    for portion in source.portions(file, [0], 1):
        for _, atoms in source.frames(file, portion):
            if not isinstance(atoms, DataError):
                return {**present_keys(atoms, "node"), **present_keys(atoms, "graph")}
    return {}


class _Plan(NamedTuple):
    """Recipe for some files, and the frames of each split; None if that is unknown before all frames are read."""

    recipe: Recipe
    places: Places | None

    @property
    def totals(self) -> dict[str, int]:
        return {name: len(part) for name, part in (self.places or {}).items() if len(part)}

    def thinned(self) -> _Plan:
        """Return the plan for a sample of the frames."""
        assert self.places is not None
        places = thinned(self.places)
        chosen = np.unique(np.concatenate(list(places.values())))
        return _Plan(replace(self.recipe, chosen=chosen, edges=True), places)

    def thinned_frames(self, processes: int | None) -> dict[str, FrameSet]:
        """Prepare a sample of each split in memory, without the cache."""
        recipe, places = self.thinned()
        assert recipe.chosen is not None
        assert places is not None
        whole = GraphDataset.from_chunks(prepared(recipe, processes), recipe.files)
        return {name: whole[np.searchsorted(recipe.chosen, part)] for name, part in places.items() if len(part)}


def _plans(source: DataSpec, r_max: float, labels: Mapping[str, Label]) -> list[_Plan]:
    """Return the plans of the training files, and of the files of other splits.

    Raises:
        DataError: a file or a list does not exist, or a split does not fit the frames.
    """
    plans = []
    for name, files in source.file_sets().items():
        recipe = recipe_of(source, r_max, labels, files)
        total, places = recipe.total(), None
        if total is not None and (name != "train" or source.group_key is not None):
            places = {name: np.arange(total)}
        elif total is not None:
            places = source.divide(total)
            recipe = replace(recipe, chosen=_taken(source, places, total))
        plans.append(_Plan(recipe, places))
    return plans


def _regrouped(
    source: DataSpec, sets: dict[str, FrameSet], totals: dict[str, int]
) -> tuple[dict[str, FrameSet], dict[str, int]] | None:
    """Split the sampled frames by their groups, with the sizes of all frames; None if the sample has too few groups."""
    whole, total = sets.pop("train"), totals.pop("train")
    groups = whole.stacked("group").numpy()
    sizes = source.sizes(total) | totals
    if len(np.unique(groups)) < len(sizes):
        return None
    places = source.divide(total, groups)
    return sets | {name: whole[part] for name, part in places.items() if len(part)}, sizes


def _knows_all(sets: Mapping[str, FrameSet]) -> bool:
    known = set(sets["train"].species)
    return not any(set(dataset.species) - known for dataset in sets.values())


def _are_few(plans: Sequence[_Plan]) -> bool:
    """Whether a sample is not worth it: there are few frames, or the splits are unknown before all frames are read."""
    total = sum(sum(plan.totals.values()) for plan in plans)
    return total <= TRAIN + 2 * OTHERS or any(plan.places is None for plan in plans)


def thinned(places: Places) -> dict[str, NDArray[np.int64]]:
    """Choose a sample of each split. It includes training frames that are adjacent to sampled frames of other splits:
    after a random split of a trajectory, these are near duplicates."""
    found = {name: _pairs(part, TRAIN if name == "train" else OTHERS) for name, part in places.items()}
    train = places.get("train", np.arange(0))
    others = np.concatenate([np.arange(0), *(part for name, part in found.items() if name != "train")])
    if len(train) > TRAIN and len(others):
        after = np.searchsorted(train, others).clip(1, len(train) - 1)
        before = after - 1
        nearest = np.where(train[after] - others < others - train[before], after, before)
        found["train"] = np.union1d(found["train"], train[nearest])
    return found


def _pairs(part: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Choose evenly spaced pairs of adjacent frames, which are similar in a trajectory; all frames if there are few."""
    if len(part) <= number:
        return part
    starts = np.arange(number // 2) * (len(part) - 1) // (number // 2)
    return part[np.union1d(starts, starts + 1)]
