"""Keys of a frame, wherever ASE keeps them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from e3frame.spec.errors import DataError, nearest

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

Fail = Callable[..., DataError]
"""Makes the error of a frame: a problem, and perhaps a hint."""


def present_keys(atoms: Atoms, per: str) -> dict[str, Any]:
    """What stands in the ``info``, the ``arrays`` and the results of a frame, for labels per graph or per atom."""
    results = {} if atoms.calc is None else {k: v for k, v in atoms.calc.results.items() if v is not None}
    arrays = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    # Where a key is in two places, the later mapping wins: the one that holds values of the label's kind.
    return {**results, **arrays, **atoms.info} if per == "graph" else {**atoms.info, **results, **arrays}


def as_array(value: Any) -> NDArray:
    """What stands under a key as an array, of objects where it is no array of numbers; NaN where it is masked out."""
    if type(value).__module__ == "torch":  # it may have gradients, or a type that NumPy lacks
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
    try:
        array = np.asarray(value)
    except Exception:  # lists of different lengths, or whatever another object's conversion makes of it
        array = np.empty((), dtype=object)
        array[()] = value
    if np.ma.is_masked(value) and array.dtype.kind in "fiu":
        array = np.ma.filled(value.astype(np.float64), np.nan)
    return array


def find(
    present: Mapping[str, Any],
    key: str,
    what: str,
    option: str,
    fail: Fail,
    fitting: Collection[str] = (),
    without: str | None = None,
) -> Any:
    """What stands under ``key``.

    Args:
        what: it is for, for the message.
        option: of the run config that names the key.
        fitting: keys whose values have the type of what is looked for.
        without: what to write where there is no such value, for the message.

    Raises:
        DataError: there is no such key.
    """
    if key in present:
        return present[key]
    match = nearest(key, fitting or present) or (next(iter(fitting)) if len(fitting) == 1 else None)
    hint = f"keys there: {', '.join(sorted(present))}" if present else "the frame has no keys"
    if match is not None:
        hint += f"; did you mean {option}={match}?"
    elif without is not None and not fitting:
        hint += f"; {without}"
    raise fail(f"no key '{key}' {what}", hint=hint)
