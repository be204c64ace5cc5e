"""Every operator in plain torch: the definition that faster backends are tested against.

All of it is made of differentiable operations of torch: it runs on every device and in every type, and can be
differentiated to any order, compiled and transformed by ``torch.func``.
"""

from __future__ import annotations

from e3frame.kernels.backends import REFERENCE, Backend, register
from e3frame.kernels.reference.harmonics import spherical_harmonics
from e3frame.kernels.reference.linear import indexed_linear, linear, self_connection
from e3frame.kernels.reference.pointwise import activation, edge_vectors, gate, radial_basis
from e3frame.kernels.reference.products import convolution, product
from e3frame.kernels.reference.symmetric_product import symmetric_product

__all__ = [
    "activation",
    "convolution",
    "edge_vectors",
    "gate",
    "indexed_linear",
    "linear",
    "product",
    "radial_basis",
    "self_connection",
    "spherical_harmonics",
    "symmetric_product",
]

_OPERATORS = (
    *(activation, convolution, edge_vectors, gate, indexed_linear),
    *(linear, product, radial_basis, self_connection, spherical_harmonics, symmetric_product),
)

BACKEND = register(
    Backend(
        REFERENCE,
        {operator.__name__: operator for operator in _OPERATORS} | {"pairs": lambda *arguments: None},
        status=lambda: "plain torch, on every device",
        priority=0,
    )
)
