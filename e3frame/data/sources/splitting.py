"""Splits frames into training, validation and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from e3frame.files.opened import require_file
from e3frame.files.regular import with_home
from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import DataError, SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


class TooFew(DataError):
    """Error for a split that needs more frames than there are."""


def _size(raw: Any) -> Any:
    number = isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0
    fraction = isinstance(raw, float) and 0 < raw < 1
    if not (number or fraction or raw in (None, "rest")):
        raise mistake(
            f"a number of frames, a fraction between 0 and 1, or rest is required, got {shown(raw)}",
            "for example 950, 0.8 or rest",
        )
    return raw


Size = Annotated[int | float | Literal["rest"] | None, BeforeValidator(_size)]


class SplitSpec(Spec):
    """Split of the frames. Sizes are numbers of frames, fractions, or ``rest``."""

    train: Size = "rest"
    """Training frames; null is rest."""
    val: Size = None
    """Validation frames; null: a tenth of the frames, unless validation has separate files."""
    test: Size = None
    """Test frames; null: a tenth of the frames, unless the test has separate files. With method index: none."""
    method: Literal["time", "random", "group", "index"] = "time"
    """Method of the split. time: file order, training first, then validation, then test; unused frames separate them,
    because neighbours in a trajectory are near duplicates. random: shuffled by seed, for independent frames; a smaller
    ``train`` is a subset of a larger one, with the same ``val`` and ``test``. group: shuffled by seed, frames with
    equal ``key`` stay together, sizes are approximate. index: frame numbers from files."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the methods random and group, and of the frames that index draws."""
    key: str | None = Field(default=None, min_length=1)
    """For group: key of the frames to group by, such as the molecule's name."""
    train_index: str | None = None
    """For index: a file with the numbers of the training frames, counted from 0. Either text with spaces, commas or
    line breaks between numbers, or .npy; ``train`` and ``val`` are drawn from these, by the seed."""
    val_index: str | None = None
    """For index: the same for validation; null: draw ``val`` from the training frames."""
    test_index: str | None = None
    """For index: the same for test; null: draw ``test`` from the frames in no list."""

    @model_validator(mode="after")
    def _one_rest(self) -> SplitSpec:
        rests = [name for name in SPLITS if _counted(getattr(self, name), name, 1) == "rest"]
        if len(rests) > 1 and self.method != "index":
            raise mistake(f"only one split can be rest, got {' and '.join(rests)}")
        fractions = {name: size for name in SPLITS if isinstance(size := getattr(self, name), float)}
        if sum(fractions.values()) > 1 + 1e-9:
            raise mistake(f"the fractions add up to more than 1: {_sum(fractions)}")
        return self

    @model_validator(mode="after")
    def _what_the_method_needs(self) -> SplitSpec:
        for key, method in {
            "key": "group",
            "train_index": "index",
            "val_index": "index",
            "test_index": "index",
        }.items():
            if getattr(self, key) is not None and self.method != method:
                problem = f"{key} needs method: {method}, got method: {self.method}"
                raise mistake_at(key, getattr(self, key), mistake(problem, f"set method: {method}, or remove {key}"))
        if self.method == "group" and self.key is None:
            raise mistake("method group needs a key to group by", "for example key: molecule")
        if self.method == "index" and self.train_index is None:
            raise mistake("method index needs train_index: a file with the numbers of the training frames")
        for name in ("val", "test"):
            if getattr(self, f"{name}_index") is not None and getattr(self, name) is not None:
                raise mistake(f"{name}_index and {name} exclude each other", "remove one of them")
        return self

    def idle(self, elsewhere: frozenset[str]) -> Iterator[SpecError]:
        """Yield an error for each option without effect, with its path relative to this spec.

        Args:
            elsewhere: splits that have separate files.
        """
        whole = len(elsewhere) == 2 and self.train in (None, "rest")
        if self.seed and (self.method == "time" or whole):
            why = "all frames are used" if whole else f"method {self.method} is not random"
            yield SpecError(("seed",), f"the seed has no effect: {why}", "set method: random, or remove seed")

    @property
    def index_files(self) -> tuple[str, ...]:
        """Files with frame numbers that the method index reads."""
        files = (self.train_index, self.val_index, self.test_index)
        return tuple(file for file in files if file is not None)

    @property
    def takes_few(self) -> bool:
        """Whether sizes are numbers or lists, so that most frames may stay unread."""
        if self.method in ("index", "group"):
            return self.method == "index" and self.test != "rest"
        return all(isinstance(getattr(self, name), int) for name in SPLITS)

    def sizes(self, total: int, elsewhere: frozenset[str] = frozenset()) -> dict[str, int]:
        """Return the number of frames in each split that is not ``elsewhere``, out of ``total``.

        Raises:
            DataError: the split needs more frames than ``total``, or leaves none for training.
        """
        wanted = {name: _counted(getattr(self, name), name, total) for name in SPLITS if name not in elsewhere}
        return _resolved(wanted, total)

    def divide(
        self, total: int, elsewhere: frozenset[str] = frozenset(), groups: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """Return the indices of the frames of each split that is not ``elsewhere``.

        Args:
            groups: group of each frame, (total,), for the method group; equal numbers stay together.
        """
        import numpy as np

        if self.method == "index":
            return self._listed(total, elsewhere)
        sizes = self.sizes(total, elsewhere)
        random = np.random.default_rng(self.seed)
        if self.method == "group":
            assert groups is not None
            return _by_group(sizes, groups, random)
        order = random.permutation(total) if self.method == "random" else np.arange(total)
        filled = [name for name in sizes if sizes[name]]
        spare, in_time = total - sum(sizes.values()), self.method == "time"
        gap = spare // max(len(filled) - 1, 1) if in_time else spare
        chosen, start = {}, 0
        for name, size in sizes.items():
            chosen[name] = np.sort(order[start : start + size])
            # Random: the whole gap follows the training frames, so that val and test stay the same as train grows.
            start += size + (gap if size and (in_time or name == "train") else 0)
        return chosen

    def _listed(self, total: int, elsewhere: frozenset[str]) -> dict[str, NDArray[np.int64]]:
        """Return a split by lists: listed frames, and frames drawn from them and from the rest."""
        import numpy as np

        random = np.random.default_rng(self.seed)
        files = {name: getattr(self, f"{name}_index") for name in SPLITS if name not in elsewhere}
        listed = {name: read_index(file, total) for name, file in files.items() if file is not None}
        _require_apart(listed, files)
        pool = random.permutation(listed["train"])
        wanted = {"train": "rest" if self.train is None else self.train}
        if "val" not in listed and "val" not in elsewhere:
            wanted["val"] = 0.1 if self.val is None else self.val
        sizes = _resolved({name: _counted(size, name, len(pool)) for name, size in wanted.items()}, len(pool))
        chosen = {"train": np.sort(pool[: sizes["train"]])} | {k: v for k, v in listed.items() if k != "train"}
        if "val" in sizes:
            chosen["val"] = np.sort(pool[len(pool) - sizes["val"] :])
        if "test" not in listed and "test" not in elsewhere and self.test is not None:
            rest = random.permutation(np.setdiff1d(np.arange(total), np.concatenate(list(listed.values()))))
            chosen["test"] = np.sort(rest[: _resolved({"test": _counted(self.test, "test", total)}, len(rest))["test"]])
        return {name: chosen.get(name, np.arange(0)) for name in SPLITS if name not in elsewhere}


def read_index(file: str, total: int) -> NDArray[np.int64]:
    """Return the frame numbers in a file, sorted.

    Raises:
        DataError: the file cannot be read, or its contents are not different integers below ``total``.
    """
    import numpy as np

    path = with_home(file)
    if path.exists():  # reading a named pipe blocks
        require_file(path)
    try:
        index = _whole_numbers(path)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or error}", file=path) from None
    except (ValueError, OverflowError) as error:
        raise DataError(f"frame numbers are required: {error}", file=path) from None
    outside = index[(index < 0) | (index >= total)]
    if len(outside):
        raise DataError(f"frame {outside[0]} is listed, but the last frame is {total - 1}", file=path)
    unique, times = np.unique(index, return_counts=True)
    if len(unique) < len(index):
        raise DataError(f"frame {unique[times > 1][0]} is listed twice", file=path)
    if not len(index):
        raise DataError("the list is empty", file=path)
    return unique


def _whole_numbers(path: Path) -> NDArray[np.int64]:
    """Parse integers from a text or an array; raise ValueError or OverflowError for anything else."""
    import numpy as np

    if path.suffix != ".npy":
        return np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), dtype=np.int64)
    with path.open("rb") as file:
        raw = np.lib.format.read_array(file)
    if raw.size and raw.dtype.kind not in "iu":  # NumPy truncates decimals silently
        raise ValueError(f"the array has type {raw.dtype}")
    return raw.astype(np.int64).reshape(-1)


def _require_apart(listed: Mapping[str, NDArray[np.int64]], files: Mapping[str, str | None]) -> None:
    import numpy as np

    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if one in listed and other in listed:
            both = np.intersect1d(listed[one], listed[other])
            if len(both):
                raise DataError(f"frame {both[0]} is also listed in {files[one]}", file=files[other])


def _by_group(
    sizes: Mapping[str, int], groups: NDArray[np.int64], random: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Assign groups in random order, each to the split that lacks most of its share; every split gets at least one."""
    import numpy as np

    _, counts = np.unique(groups, return_counts=True)
    members = np.split(np.argsort(groups, kind="stable"), counts.cumsum()[:-1])
    filled = [name for name in sizes if sizes[name]]
    if len(members) < len(filled):
        raise TooFew(f"{len(members)} groups cannot make {len(filled)} splits", hint="split by another key")
    shuffled = [members[k] for k in random.permutation(len(members))]
    chosen: dict[str, list[NDArray[np.int64]]] = {name: [] for name in sizes}
    have = dict.fromkeys(filled, 0)
    for frames in sorted(shuffled, key=len, reverse=True):
        empty = [name for name in filled if not chosen[name]]
        left = len(members) - sum(map(len, chosen.values()))
        able = empty if len(empty) >= left else filled
        split = min(able, key=lambda name: (have[name] + len(frames)) / sizes[name])
        chosen[split].append(frames)
        have[split] += len(frames)
    return {name: np.sort(np.concatenate(parts)) if parts else np.arange(0) for name, parts in chosen.items()}


def _counted(size: Any, name: str, total: int) -> Any:
    if size is None:
        size = "rest" if name == "train" else 0.1
    return max(1, int(size * total + 1e-9)) if isinstance(size, float) else size


def _resolved(wanted: Mapping[str, Any], total: int) -> dict[str, int]:
    fixed = sum(size for size in wanted.values() if size != "rest")
    if fixed > total:
        raise TooFew(f"the split needs {_sum(wanted)} frames, but there are {total}")
    sizes = {name: total - fixed if size == "rest" else size for name, size in wanted.items()}
    if sizes.get("train") == 0:
        raise TooFew(f"the split leaves no frame for training: {_sum(wanted)} of {total} frames")
    return sizes


def _sum(sizes: Mapping[str, Any]) -> str:
    return " + ".join(f"{size} ({name})" for name, size in sizes.items())
