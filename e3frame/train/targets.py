"""What a model learns: its outputs, each with the label that trains it, a loss and a weight."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from e3frame.data.base import Label
from e3frame.spec.base import Spec, mistake, mistake_at
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Name

UNITS = {"energy": "eV", "forces": "eV/Å", "dipole": "e*Å", "polarizability": "Å^3"}
"""Units in which the data hand over the labels they know, whatever the unit in the file."""


class TargetSpec(Spec):
    """One output of the model and how it is trained. Its name is that of the output."""

    irreps: IrrepsField
    """Irreps of the quantity: 0e for an energy, 1o for forces or a dipole."""
    per: Literal["graph", "node"]
    """Whether there is one value per graph or one per atom."""
    key: str | None = Field(default=None, min_length=1)
    """Label of the data to learn; null: the one that is called like the target."""
    unit: str | None = None
    """Unit of the label, for messages and tables; null: eV for energy, eV/Å for forces, ... , else none."""
    weight: float = Field(default=1.0, ge=0)
    """Factor of this target's loss; 0: only its errors are reported."""
    loss: Literal["mse", "mae", "huber"] = "mse"
    """Mean squared error, mean absolute error, or Huber's: squared up to ``huber_delta``, absolute beyond."""
    huber_delta: float | None = Field(default=None, gt=0)
    """Where Huber's loss turns from squared to absolute, in the unit of the target; null: 0.01."""
    per_atom: bool = False
    """Train the value divided by the graph's number of atoms, so that large and small molecules weigh alike."""

    @model_validator(mode="after")
    def _consistent(self) -> TargetSpec:
        if self.per_atom and self.per == "node":
            raise mistake_at(
                "per_atom", True, mistake("per: node has one value per atom already", "leave per_atom out")
            )
        if self.huber_delta is not None and self.loss != "huber":
            problem = f"huber_delta is for loss: huber, loss is {self.loss}"
            raise mistake_at("huber_delta", self.huber_delta, mistake(problem, "leave it out"))
        return self

    @property
    def label(self) -> Label:
        """What the data are asked for: one number for 0e, a vector for 1o, ..."""
        return Label(self.per, () if self.irreps.dim == 1 else (self.irreps.dim,))


class TaskSpec(Spec):
    """What to learn."""

    targets: dict[Name, TargetSpec] = Field(min_length=1)
    """Outputs of the model that are trained or watched."""

    @field_validator("targets")
    @classmethod
    def _something_to_train(cls, targets: dict[str, TargetSpec]) -> dict[str, TargetSpec]:
        if not any(target.weight > 0 for target in targets.values()):
            raise mistake("no target has a weight above 0: there is nothing to train")
        return targets

    def key(self, name: str) -> str:
        """The data's label that trains target ``name``."""
        return self.targets[name].key or name

    def unit(self, name: str) -> str:
        """Unit of target ``name``, empty where it has none."""
        target = self.targets[name]
        return UNITS.get(self.key(name), UNITS.get(name, "")) if target.unit is None else target.unit

    @property
    def labels(self) -> dict[str, Label]:
        """Labels to load, by their names in the data."""
        return {self.key(name): target.label for name, target in self.targets.items()}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What a validation computes, as schedulers and checkpoints may monitor it."""
        return ("val_loss", *(f"val_{name}_{error}" for name in self.targets for error in ("mae", "rmse")))
