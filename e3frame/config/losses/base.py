"""The base of all losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch import Tensor

NEEDS = ("difference", "prediction", "label")


class LossSpec(Kinded, family="loss"):
    """The loss of each entry of a target, which is one component of one graph, atom or edge.

    The loss of the target is the mean over all entries that have a label. With ``per_atom`` all values are divided by
    the number of atoms first.
    """

    saved = True
    needs: ClassVar[tuple[str, ...]] = ("difference",)
    """Which tensors :meth:`each` takes, by keyword: ``difference`` (prediction - label), ``prediction``, ``label``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if unknown := set(cls.needs) - set(NEEDS):
            raise TypeError(f"a loss may need {', '.join(NEEDS)}; {cls.__name__} needs {', '.join(sorted(unknown))}")

    def each(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of each entry: (rows, components) in float64, of the same shape as the tensors that it needs.

        Where prediction and label are equal it must be finite, with finite gradients, and of a difference of 0 it must
        be 0: an entry without a label has the prediction for one.
        """
        raise NotImplementedError(f"{type(self).__name__}.each")
