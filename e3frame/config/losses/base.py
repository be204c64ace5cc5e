"""The base of all losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch import Tensor

NEEDS = ("difference", "prediction", "label")


class LossSpec(Kinded, family="loss"):
    """Loss of each entry of a target: of one component of one graph, atom or edge.

    The loss of the target is the mean over all entries that have a label. With ``per_atom`` all values are divided by
    the number of atoms first.
    """

    saved = True
    needs: ClassVar[tuple[str, ...]] = ("difference",)
    """Tensors that :meth:`each` takes, by keyword: ``difference`` (prediction - label), ``prediction``, ``label``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if unknown := set(cls.needs) - set(NEEDS):
            raise TypeError(f"a loss may need {', '.join(NEEDS)}; {cls.__name__} needs {', '.join(sorted(unknown))}")

    def each(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss of each entry, (rows, components) in float64, the shape of its arguments.

        If prediction and label are equal, the loss must be 0 and its gradients finite: entries without a label use the
        prediction as label.
        """
        raise NotImplementedError(f"{type(self).__name__}.each")
