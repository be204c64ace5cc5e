"""Tensor products whose paths follow from their irreps; see `e3frame.algebra.paths`."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from e3frame.algebra.irreps import IrrepsLike
from e3frame.algebra.paths import IrrepFilter, plan_elementwise, plan_full, plan_fully_connected, plan_square
from e3frame.algebra.plan import IrrepNormalization, PathNormalization
from e3frame.o3.tensor_product import CommonOptions, ProductOptions, TensorProduct


class FullyConnectedTensorProduct(TensorProduct):
    """``z_w = Σ_uv w_uvw x_u ⊗ y_v``, summed over all paths; outputs out of reach are zero.

    Args:
        irrep_normalization, path_normalization, options: see `TensorProduct`.

    Each of the 15 scalars is a learned combination of 5·6 + 5·4 = 50 products, of scalars and of pseudovectors; each
    of the 3 pseudovectors of 5·4 + 5·6 + 5·4 = 70:

    >>> tp = FullyConnectedTensorProduct("5x0e + 5x1e", "6x0e + 4x1e", "15x0e + 3x1e")
    >>> tp
    FullyConnectedTensorProduct(5x0e+5x1e x 6x0e+4x1e -> 15x0e+3x1e | 960 paths | 960 weights)
    >>> tp.weight_numel == 15 * 50 + 3 * 70
    True

    Only the outputs that are asked for are made: here 20 combinations of 15 dot products, without the 1e and 2e.

    >>> FullyConnectedTensorProduct("5x1o", "3x1o", "20x0e")
    FullyConnectedTensorProduct(5x1o x 3x1o -> 20x0e | 300 paths | 300 weights)
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        irrep_normalization: IrrepNormalization | None = None,
        path_normalization: PathNormalization | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        nn.Module.__init__(self)
        self._build(
            lambda **chosen: plan_fully_connected(irreps_in1, irreps_in2, irreps_out, **chosen),
            irrep_normalization,
            path_normalization=path_normalization,
            **options,
        )


class FullTensorProduct(TensorProduct):
    """``z_uv = x_u ⊗ y_v``: all products of irreps, without weights, sorted; only ``filter_ir_out`` if given.

    Args:
        filter_ir_out: irreps to keep.
        irrep_normalization, options: see `TensorProduct`.

    >>> FullTensorProduct("2x0e + 3x1o", "5x0e + 7x1e").irreps_out
    21x0o+10x0e+15x1o+21x1o+14x1e+21x2o
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        filter_ir_out: IrrepFilter = None,
        irrep_normalization: IrrepNormalization | None = None,
        **options: Unpack[ProductOptions],
    ) -> None:
        nn.Module.__init__(self)
        self._build(
            lambda **chosen: plan_full(irreps_in1, irreps_in2, filter_ir_out, **chosen), irrep_normalization, **options
        )


class ElementwiseTensorProduct(TensorProduct):
    """``z_u = x_u ⊗ y_u`` over equally many irreps, without weights; only irreps of ``filter_ir_out`` if given.

    Args:
        filter_ir_out: irreps to keep.
        irrep_normalization, options: see `TensorProduct`.

    Raises:
        ValueError: different numbers of irreps.

    Multiplicities that do not match are split, here into 4, 1 and 5 pairs:

    >>> tp = ElementwiseTensorProduct("5x0e + 5x1e", "4x0e + 6x1e")
    >>> tp.irreps_in1, tp.irreps_in2
    (4x0e+1x0e+5x1e, 4x0e+1x1e+5x1e)
    >>> tp.irreps_out
    4x0e+1x1e+5x0e+5x1e+5x2e
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        filter_ir_out: IrrepFilter = None,
        irrep_normalization: IrrepNormalization | None = None,
        **options: Unpack[ProductOptions],
    ) -> None:
        nn.Module.__init__(self)
        self._build(
            lambda **chosen: plan_elementwise(irreps_in1, irreps_in2, filter_ir_out, **chosen),
            irrep_normalization,
            **options,
        )


class TensorSquare(TensorProduct):
    """``x ⊗ x``: fully connected to ``irreps_out`` with weights, or else all of it, without.

    Args:
        irreps_out: the output, or None for every product that is not zero nor there twice.
        filter_ir_out: irreps to keep if ``irreps_out`` is None.
        irrep_normalization, options: see `TensorProduct`.

    Raises:
        ValueError: both ``irreps_out`` and ``filter_ir_out``.

    Its normalization differs from that of the general product, which takes its two inputs to be independent. So are two
    copies u < v of an irrep, but not x_u and itself: for normal components, E[x_i x_j x_k x_l] = δ_ij δ_kl + δ_ik δ_jl
    + δ_il δ_jk, of which independent inputs have the middle term alone. Into l = 0 goes |x|²/√d, d the dimension of the
    irrep, with E[|x|⁴]/d = d + 2 instead of 1: the square of its coefficient is divided by d + 2. Into l = 2, 4, ...
    go symmetric traceless products, for which the first term vanishes and the others are equal: it is divided by 2.
    The products into l = 1, 3, ... are antisymmetric and vanish.

    >>> square = TensorSquare("5x1e + 2e")
    >>> square
    TensorSquare(5x1e+1x2e -> 16x0e+15x1e+21x2e+5x3e+1x4e | 58 paths | 0 weights)
    >>> [(ins.connection_mode, round(ins.path_weight**2, 3)) for ins in square.instructions[:4]]  # 1e ⊗ 1e
    [('uvu<v', 1.0), ('uuu', 0.2), ('uvu<v', 3.0), ('uvu<v', 5.0)]
    >>> import torch
    >>> square(torch.randn(50_000, 20)).square().mean(0).round().unique()
    tensor([1.])
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike = None,
        filter_ir_out: IrrepFilter = None,
        irrep_normalization: IrrepNormalization | None = None,
        **options: Unpack[ProductOptions],
    ) -> None:
        nn.Module.__init__(self)
        self._build(
            lambda **chosen: plan_square(irreps_in, irreps_out, filter_ir_out, **chosen), irrep_normalization, **options
        )
        self.irreps_in = self.plan.irreps_in1

    def forward(self, x: Tensor, weight: Tensor | list[Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """``(..., irreps_in.dim) -> (..., irreps_out.dim)``."""
        return super().forward(x, x, weight)

    def __repr__(self) -> str:
        return self._describe(repr(self.irreps_in))
