"""Which frames of one set are for training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from e3frame.spec.base import Spec, mistake, shown
from e3frame.spec.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


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
    """How the frames are divided. Sizes are numbers of frames, fractions of them, or ``rest``."""

    train: Size = "rest"
    """Frames for training; null is rest."""
    val: Size = None
    """Frames for validation; null: a tenth of the frames, unless they come from files of their own."""
    test: Size = None
    """Frames for the test; null: a tenth of the frames, unless they come from files of their own."""
    method: Literal["time", "random"] = "time"
    """time: in the order of the files, first training, then validation, then test; frames left over are the gaps
    between them, as neighbours in a trajectory are near copies of each other. random: shuffled by seed, for frames
    that have nothing to do with each other."""
    seed: int = Field(default=0, ge=0)
    """Of the random method."""

    @model_validator(mode="after")
    def _one_rest(self) -> SplitSpec:
        rests = [name for name in SPLITS if _counted(getattr(self, name), name, 1) == "rest"]
        if len(rests) > 1:
            raise mistake(f"only one split can be the rest, but {' and '.join(rests)} are")
        fractions = {name: size for name in SPLITS if isinstance(size := getattr(self, name), float)}
        if sum(fractions.values()) > 1 + 1e-9:
            raise mistake(f"the fractions add up to more than 1: {_sum(fractions)}")
        return self

    def sizes(self, total: int, elsewhere: frozenset[str] = frozenset()) -> dict[str, int]:
        """Frames in each split that is not ``elsewhere``, out of ``total``.

        Raises:
            DataError: they are more than ``total``, or none is left for training.
        """
        wanted = {name: _counted(getattr(self, name), name, total) for name in SPLITS if name not in elsewhere}
        fixed = sum(size for size in wanted.values() if size != "rest")
        if fixed > total:
            raise DataError(f"the split asks for {_sum(wanted)} frames, there are {total}")
        sizes = {name: total - fixed if size == "rest" else size for name, size in wanted.items()}
        if sizes["train"] == 0:
            raise DataError(f"the split leaves no frame for training: {_sum(wanted)} of {total} frames")
        return sizes

    def divide(self, total: int, elsewhere: frozenset[str] = frozenset()) -> dict[str, NDArray[np.int64]]:
        """Indices of the frames of each split that is not ``elsewhere``."""
        import numpy as np

        sizes = self.sizes(total, elsewhere)
        order = np.arange(total)
        if self.method == "random":
            order = np.random.default_rng(self.seed).permutation(total)
        filled = [name for name in sizes if sizes[name]]
        spare = total - sum(sizes.values()) if self.method == "time" else 0
        gap = spare // max(len(filled) - 1, 1)
        chosen, start = {}, 0
        for name, size in sizes.items():
            chosen[name] = np.sort(order[start : start + size])
            start += size + (gap if size else 0)
        return chosen


def _counted(size: Any, name: str, total: int) -> Any:
    if size is None:
        size = "rest" if name == "train" else 0.1
    return max(1, int(size * total + 1e-9)) if isinstance(size, float) else size


def _sum(sizes: Mapping[str, Any]) -> str:
    return " + ".join(f"{size} ({name})" for name, size in sizes.items())
