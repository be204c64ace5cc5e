"""The base of all optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from e3frame.spec.errors import SpecError
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]
Groups = Sequence[dict[str, Any]]
"""Groups of parameters, each with ``params``, ``lr`` and ``role`` (:data:`e3frame.nn.parameters.Role`); the role
``matrix`` comes with ``matrices``, for each parameter a list of :data:`e3frame.nn.parameters.Place`."""


class OptimizerSpec(Kinded, family="optimizer"):
    """A rule by which gradients change weights."""

    averages: ClassVar[bool] = False
    """Whether the optimizer averages the weights itself, so that a running mean and a schedule are not needed."""

    lr: float = Field(default=0.01, gt=0)
    """Highest learning rate; the scheduler changes it over the run."""

    def build(self, groups: Groups) -> Optimizer:
        """Build the optimizer for these parameter groups, each with its learning rate and role."""
        raise NotImplementedError(f"{type(self).__name__}.build")

    def idle(self) -> Iterator[SpecError]:
        """Yield the options that have no effect, with paths from this spec."""
        yield from ()


def without_decay(groups: Groups) -> list[dict[str, Any]]:
    """Return the groups with weight decay turned off for biases and norms."""
    return [group | {"weight_decay": 0.0} if group["role"] == "bias" else dict(group) for group in groups]


def matrices_and_others(groups: Groups, kind: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the groups of matrices, and the others with weight decay turned off for biases and norms.

    Raises:
        SpecError: there are no matrices, which an optimizer of this kind is for.
    """
    matrices = [dict(group) for group in groups if group["role"] == "matrix"]
    if not matrices:
        raise SpecError(("optimizer", "kind"), f"the model has no matrix that {kind} can train", "set optimizer=adamw")
    return matrices, without_decay([group for group in groups if group["role"] != "matrix"])
