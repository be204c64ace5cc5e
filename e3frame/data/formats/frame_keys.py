"""Values of a frame by key, from ``info``, ``arrays`` and the results of ASE."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from e3frame.spec.errors import DataError, nearest
from e3frame.spec.limits import LABEL

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

Fail = Callable[..., DataError]
"""Makes the error of a frame: a problem, and perhaps a hint."""


def present_keys(atoms: Atoms, per: str) -> dict[str, Any]:
    """Return the values in ``info``, ``arrays`` and results of a frame, for labels per graph or per atom."""
    results = {} if atoms.calc is None else {k: v for k, v in atoms.calc.results.items() if v is not None}
    arrays = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    # If a key is in two places, the later mapping wins: the one that holds values of the label's kind.
    return {**results, **arrays, **atoms.info} if per == "graph" else {**atoms.info, **results, **arrays}


def as_array(value: Any) -> NDArray[Any]:
    """Return a value as an array, of dtype object if it is not numeric; masked entries become NaN."""
    if type(value).__module__ == "torch":  # it may have gradients, or a type that NumPy lacks
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
    try:
        array = np.asarray(value)
    except Exception:  # lists of different lengths, or another object's conversion fails
        array = np.empty((), dtype=object)
        array[()] = value
    if np.ma.is_masked(value) and array.dtype.kind in "fiu":
        array = np.ma.filled(value.astype(np.float64), np.nan)
    return array


def require_measured(values: NDArray[np.float64], name: Callable[[int], str], fail: Fail) -> None:
    """Raise the error of the first row that is not finite or too large for a label.

    Args:
        values: values of a label, (rows, ...).
        name: returns the name of a row, for the message.
        fail: makes the error.
    """
    sizes = np.abs(values.reshape(len(values), -1)) if values.size else np.zeros((0, 0))
    for wrong, problem in ((~np.isfinite(sizes), "is not finite: {}"), (sizes > LABEL, "is {}: too large for a label")):
        if wrong.any():
            row = int(wrong.any(1).argmax())
            raise fail(f"{name(row)} {problem.format(values[row].tolist())}")


class Absent(NamedTuple):
    """A key that a frame lacks.

    Attributes:
        key: the key.
        what: purpose of its value, such as ``for the label energy``.
        option: key of the run config that names it.
        fitting: keys of the frame whose values have the right type.
        without: setting that does without the value.
        label: the label that some frames may lack.
    """

    key: str
    what: str
    option: str
    fitting: Collection[str] = ()
    without: str | None = None
    label: str | None = None

    def meant(self, present: Collection[str]) -> str | None:
        """Return an override with the key that is probably meant."""
        match = nearest(self.key, self.fitting or present)
        match = match or (next(iter(self.fitting)) if len(self.fitting) == 1 else None)
        return None if match is None else f"{self.option}={match}"


def absent_error(absent: Sequence[Absent], present: Collection[str], fail: Fail) -> DataError:
    """Return one error for all keys that a frame lacks, with hints what to write instead."""
    hints = [f"existing keys: {', '.join(sorted(present))}" if present else "the frame has no keys"]
    meant = {each.key: each.meant(present) for each in absent}
    if any(meant.values()):
        hints.append(f"did you mean {' '.join(filter(None, meant.values()))}?")
    others = [each for each in absent if meant[each.key] is None and not each.fitting]
    hints += [each.without for each in others if each.without is not None][:1]  # a task without the first needs no more
    if labels := [each.label for each in others if each.label is not None]:
        them = "it" if len(labels) == 1 else "them"
        hints.append(f"if some frames lack {them}: data.allow_missing=[{','.join(labels)}]")
    return fail(", ".join(f"no key '{each.key}' {each.what}" for each in absent), hint="; ".join(hints))


def find(present: Mapping[str, Any], key: str, what: str, option: str, fail: Fail) -> Any:
    """Return the value of ``key``; ``what`` and ``option`` as in :class:`Absent`.

    Raises:
        DataError: there is no such key.
    """
    if key not in present:
        raise absent_error([Absent(key, what, option)], present, fail)
    return present[key]
