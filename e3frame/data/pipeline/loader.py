"""From a source of data to training, validation and test frames.

A spec says what is read and how it is divided; this loader does it, for every kind alike: it reads in several
processes, converts units, finds neighbours, keeps what it has prepared, and takes some frames for a first look.
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
"""Training frames in a first look, besides neighbours of other frames; and frames of each other split."""

Places = Mapping[str, NDArray[np.int64]]
"""Numbers of the frames of each split, in rising order."""


def load(spec: DataSpec, r_max: float, labels: Mapping[str, Label], all_there: bool = True) -> Splits:
    """Load the graphs of a source, with neighbours within ``r_max`` (Å) and these labels.

    What is prepared is kept in the source's cache folder, and read from there the next time.

    Args:
        all_there: each label that frames may lack must be there in some frame.

    Raises:
        DataError: for anything that is wrong with the data, with the file and the frame.
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
    """Return how the graphs of all frames of ``files`` (None: the training files) are made.

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
    """Return the frames of a recipe in order: from the cache, or made and then kept there.

    Args:
        check: is called before frames are made, and may raise.
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
    """What the graphs depend on besides the bytes of the files, in a form for JSON."""
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
    """The prepared frames, and the places of each split among them."""
    total = recipe.total() if source.takes_few else None

    def check() -> None:
        if source.group_key is None and (total := recipe.total() or 0) > recipe.piece:
            source.divide(total)  # a split that does not fit is an error before many frames are made

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
    """The frames of all splits where only these are prepared; None for all frames of the files."""
    taken = np.sort(np.concatenate(list(places.values())))
    return taken if source.takes_few and len(taken) <= source.part * total else None


class Excerpt(NamedTuple):
    """Some frames of each split, and how many frames it has."""

    splits: Splits
    totals: dict[str, int]

    @classmethod
    def whole(cls, splits: Splits) -> Excerpt:
        """All frames."""
        return cls(splits, {name: len(dataset) for name, dataset in splits.items()})


def excerpt(spec: DataSpec, r_max: float, labels: Mapping[str, Label]) -> Excerpt:
    """Load some frames of each split for a first look, or all where they are few; arguments as of :func:`load`."""
    source = _resolved(spec, labels)
    plans = _plans(source, r_max, labels)
    if not _are_few(plans):
        sets: dict[str, FrameSet] = {}
        totals: dict[str, int] = {}
        for plan in plans:
            sets |= plan.thinned_frames(source.processes)
            totals |= plan.totals
        found = _regrouped(source, sets, totals) if source.group_key is not None else (sets, totals)
        # An element of the other splits that the few training frames lack may be in the rest of them.
        if found is not None and _knows_all(found[0]):
            return Excerpt(Splits.of(found[0]), found[1])
    return Excerpt.whole(load(source, r_max, labels))


class Survey(NamedTuple):
    """The sound frames of some files, and what is wrong with the others."""

    sound: list[Chunk]
    broken: list[DataError]
    files: list[str]


def survey(spec: DataSpec, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey:
    """Prepare every frame that :func:`excerpt`, or with ``full`` :func:`load`, reads, the broken ones told apart.

    Raises:
        DataError: a file cannot be read at all.
    """
    source = _resolved(spec, labels)
    plans = _plans(source, r_max, labels)
    whole = full or _are_few(plans)
    return surveyed([plan.recipe if whole else plan.thinned().recipe for plan in plans], source.processes)


def surveyed(recipes: Iterable[Recipe], processes: int | None = None) -> Survey:
    """The frames of some recipes, of each the sound and the broken ones."""
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
    """Values of the first frame by key, in the units of its file; none where it cannot be read."""
    source = spec.resolved()
    file = source.file_sets()["train"][0]
    for portion in source.portions(file, [0], 1):
        for _, atoms in source.frames(file, portion):
            if not isinstance(atoms, DataError):
                return {**present_keys(atoms, "node"), **present_keys(atoms, "graph")}
    return {}


class _Plan(NamedTuple):
    """How some files are read, and which of their frames are in which split; None where only reading all tells."""

    recipe: Recipe
    places: Places | None

    @property
    def totals(self) -> dict[str, int]:
        return {name: len(part) for name, part in (self.places or {}).items() if len(part)}

    def thinned(self) -> _Plan:
        """The same with some of the frames."""
        assert self.places is not None
        places = thinned(self.places)
        chosen = np.unique(np.concatenate(list(places.values())))
        return _Plan(replace(self.recipe, chosen=chosen, edges=True), places)

    def thinned_frames(self, processes: int | None) -> dict[str, FrameSet]:
        """Some of the frames of each split, in memory and not kept on disk."""
        recipe, places = self.thinned()
        assert recipe.chosen is not None
        assert places is not None
        whole = GraphDataset.from_chunks(prepared(recipe, processes), recipe.files)
        return {name: whole[np.searchsorted(recipe.chosen, part)] for name, part in places.items() if len(part)}


def _plans(source: DataSpec, r_max: float, labels: Mapping[str, Label]) -> list[_Plan]:
    """Plans of the training files, and of the files of other splits.

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
    """Some frames divided by their groups as all of them are, now that the groups are known; None where these are too
    few."""
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
    """Whether all frames are read as soon as some of them, or have to be."""
    total = sum(sum(plan.totals.values()) for plan in plans)
    return total <= TRAIN + 2 * OTHERS or any(plan.places is None for plan in plans)


def thinned(places: Places) -> dict[str, NDArray[np.int64]]:
    """Some frames of each split; of the training frames also those that are next to the others in the files, as these
    are the most alike where a trajectory was divided at random."""
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
    """Neighbours at even distances, as those of a trajectory are alike; of few frames all."""
    if len(part) <= number:
        return part
    starts = np.arange(number // 2) * (len(part) - 1) // (number // 2)
    return part[np.union1d(starts, starts + 1)]
