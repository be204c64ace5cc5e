"""Properties of parameters that their modules declare: roles, matrices, and rows for each species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = [
    "HasMatrices",
    "HasRoles",
    "PerSpecies",
    "Place",
    "Role",
    "Rows",
    "matrices_of",
    "role_of",
    "species_rows",
]

Role = Literal["weight", "matrix", "bias"]
"""How optimizers treat a parameter: ``bias`` (biases, and the scales of norms) does not decay, ``matrix`` consists of
matrices of linear maps, ``weight`` is any other weight."""
Place = tuple[tuple[int, ...], tuple[int, ...], int]
"""Matrices of equal shape in a parameter: size (..., rows, columns), strides and offset, as for ``as_strided``."""


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
class HasMatrices(Protocol):
    """A module with linear maps, whose matrices optimizers such as Muon and SOAP treat as a whole."""

    def weight_matrices(self) -> Mapping[str, Sequence[Tensor]]:
        """Views (..., rows, columns) on each parameter, by its name, that are matrices of linear maps."""


@runtime_checkable
class PerSpecies(Protocol):
    """A module with rows for each species, which a model of other species copies, drops or initializes one by one."""

    def species_rows(self) -> Mapping[str, Sequence[Rows]]:
        """The parts of each parameter or buffer, by its name, that have a row for each species."""


def role_of(module: nn.Module, name: str) -> Role:
    """Return the role of a module's own parameter: as declared, or ``bias`` if its name begins with it."""
    roles = module.parameter_roles if isinstance(module, HasRoles) else {}
    return roles.get(name, "bias" if name.startswith("bias") else "weight")


def matrices_of(module: nn.Module, name: str) -> tuple[Place, ...]:
    """Return the matrices of which a module's own parameter consists; empty if other numbers are in it, or vectors.

    Raises:
        ValueError: what the module gives are not views on the parameter.
    """
    views = module.weight_matrices().get(name, ()) if isinstance(module, HasMatrices) else ()
    parameter = module.get_parameter(name)
    if any(view.untyped_storage().data_ptr() != parameter.untyped_storage().data_ptr() for view in views):
        raise ValueError(f"weight_matrices of {type(module).__name__} must give views on '{name}', not copies")
    whole = parameter.is_contiguous() and sum(view.numel() for view in views) == parameter.numel()
    if not views or not whole or any(min(view.shape[-2:]) < 2 for view in views):
        return ()
    begin = parameter.storage_offset()
    return tuple((tuple(view.shape), view.stride(), int(view.storage_offset() - begin)) for view in views)


def species_rows(module: nn.Module) -> Mapping[str, Sequence[Rows]]:
    """Return the parts of a module's own parameters and buffers that have a row for each species."""
    return module.species_rows() if isinstance(module, PerSpecies) else {}
