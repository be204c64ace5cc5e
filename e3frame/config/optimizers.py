"""Optimizers, as specs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from e3frame.spec.base import mistake
from e3frame.spec.errors import SpecError
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]
Groups = Sequence[dict[str, Any]]
"""Parameters as :func:`e3frame.training.groups.parameter_groups` sorts them."""


class OptimizerSpec(Kinded, family="optimizer"):
    """How gradients become steps."""

    averages: ClassVar[bool] = False
    """Whether the optimizer averages the weights itself, so that a running mean and a schedule are not needed."""

    lr: float = Field(default=0.01, gt=0)
    """Learning rate at its highest; the scheduler lowers it."""

    def build(self, groups: Groups) -> Optimizer:
        """The optimizer of these groups of parameters, each with its learning rate and role."""
        raise NotImplementedError(f"{type(self).__name__}.build")

    def idle(self) -> Iterator[SpecError]:
        """Options that do nothing, with their paths from here."""
        yield from ()


class AdamSpec(OptimizerSpec):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980)."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""
    amsgrad: bool = False
    """Never let the denominator shrink (Reddi et al. 2018, arXiv 1904.09237)."""

    def build(self, groups: Groups) -> Optimizer:
        from torch.optim import Adam

        return Adam(groups, **self.model_dump(exclude={"kind"}), fused=True)


class AdamWSpec(OptimizerSpec):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Fraction, times the learning rate, that each weight loses per step."""
    decay_biases: bool = False
    """Let biases, and the scales of norms, lose it too."""
    amsgrad: bool = False
    """Never let the denominator shrink (Reddi et al. 2018, arXiv 1904.09237)."""

    def idle(self) -> Iterator[SpecError]:
        if self.decay_biases and not self.weight_decay:
            problem = "weight_decay is 0, so there is nothing that biases could lose"
            yield SpecError(("decay_biases",), problem, "leave it out, or give a weight_decay")

    def build(self, groups: Groups) -> Optimizer:
        from torch.optim import AdamW

        decayed = groups if self.decay_biases else without_decay(groups)
        return AdamW(decayed, **self.model_dump(exclude={"kind", "decay_biases"}), fused=True)


class ScheduleFreeSpec(OptimizerSpec):
    """AdamW that averages its weights in place of a schedule (Defazio et al. 2024, arXiv 2405.15682)."""

    kind: Literal["schedule_free"] = "schedule_free"
    averages = True
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Interpolation between the newest weights and their average, and decay of the mean of the squared gradient."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Fraction, times the learning rate, that each weight loses per step; biases and norms lose nothing."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly from nothing at the start."""

    @field_validator("kind")
    @classmethod
    def _installed(cls, kind: str) -> str:
        if find_spec("schedulefree") is None:
            raise mistake("the package schedulefree is not installed", "pip install schedulefree")
        return kind

    def build(self, groups: Groups) -> Optimizer:
        from schedulefree import AdamWScheduleFree

        return AdamWScheduleFree(without_decay(groups), **self.model_dump(exclude={"kind"}))


class MuonSpec(OptimizerSpec):
    """Muon for the matrices of mlps, radial ones included (Jordan et al. 2024), and AdamW for all other weights.

    The weights of linear maps and of products of irreps are flat lists of many small matrices, which Muon cannot take.
    """

    kind: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    """Decay of the running mean of the gradient of matrices."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of AdamW."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator of AdamW."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Fraction, times the learning rate, that each weight loses per step; biases and norms lose nothing."""

    def build(self, groups: Groups) -> Optimizer:
        from e3frame.nn.muon import MuonAndAdamW

        matrices = [dict(group) for group in groups if group["role"] == "matrix"]
        if not matrices:
            raise SpecError(("optimizer", "kind"), "the model has no mlp whose matrices muon could train", "take adamw")
        others = without_decay([group for group in groups if group["role"] != "matrix"])
        return MuonAndAdamW(matrices, others, self.lr, self.momentum, self.betas, self.eps, self.weight_decay)


def without_decay(groups: Groups) -> list[dict[str, Any]]:
    """The groups, of which biases and norms keep what they have."""
    return [group | {"weight_decay": 0.0} if group["role"] == "bias" else dict(group) for group in groups]
