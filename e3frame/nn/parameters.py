"""What modules declare about their own parameters: their roles, and their rows for each species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["HasRoles", "PerSpecies", "Role", "Rows", "role_of", "species_rows"]

Role = Literal["weight", "matrix", "bias"]
"""How optimizers treat a parameter: ``bias`` (biases, and the scales of norms) does not decay, ``matrix`` is the matrix
of a linear map as a whole, ``weight`` any other weight, such as a flat list of many matrices."""


class Rows(NamedTuple):
    """A part of a parameter or buffer that has a row for each species.

    Attributes:
        view: a view on it.
        axis: the axis of the view that counts the species.
        factor: what the numbers are multiplied by when they are used, if that depends on the number of species.
    """

    view: Tensor
    axis: int = 0
    factor: float = 1.0


@runtime_checkable
class HasRoles(Protocol):
    """A module whose parameters are not what their names say: ``parameter_roles = {"weight": "bias"}`` for a norm."""

    parameter_roles: Mapping[str, Role]


@runtime_checkable
class PerSpecies(Protocol):
    """A module with rows for each species, which a model of other species keeps, drops or begins anew one by one."""

    def species_rows(self) -> Mapping[str, Sequence[Rows]]:
        """The parts of each parameter or buffer, by its name, that have a row for each species."""


def role_of(module: nn.Module, name: str) -> Role:
    """Return the role of a module's own parameter: as declared, or ``bias`` if its name begins with it."""
    roles = module.parameter_roles if isinstance(module, HasRoles) else {}
    return roles.get(name, "bias" if name.startswith("bias") else "weight")


def species_rows(module: nn.Module) -> Mapping[str, Sequence[Rows]]:
    """Return the parts of a module's own parameters and buffers that have a row for each species."""
    return module.species_rows() if isinstance(module, PerSpecies) else {}
