"""Tensor products whose paths follow from their irreps: fully connected, full, elementwise and square."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from e3frame.algebra.irreps import IrrepsLike
from e3frame.algebra.paths import IrrepFilter, plan_elementwise, plan_full, plan_fully_connected, plan_square
from e3frame.algebra.plan import IrrepNormalization, PathNormalization
from e3frame.o3.tensor_product import CommonOptions, ProductOptions, TensorProduct


class FullyConnectedTensorProduct(TensorProduct):
    """``z_w = Σ_uv w_uvw x_u ⊗ y_v``, summed over all paths. Outputs without a path are zero.

    Args:
        irreps_in1, irreps_in2, irreps_out: irreps of x, y and z.
        irrep_normalization, path_normalization, options: see `TensorProduct`.

    Each of the 15 scalars is a learned combination of 5·6 + 5·4 = 50 products, of scalars and of pseudovectors; each
    of the 3 pseudovectors of 5·4 + 5·6 + 5·4 = 70:

    >>> tp = FullyConnectedTensorProduct("5x0e + 5x1e", "6x0e + 4x1e", "15x0e + 3x1e")
    >>> tp
    FullyConnectedTensorProduct(5x0e+5x1e x 6x0e+4x1e -> 15x0e+3x1e | 960 paths | 960 weights)
    >>> tp.weight_numel == 15 * 50 + 3 * 70
    True

    Only ``irreps_out`` is computed: here 20 combinations of 15 dot products, without the 1e and 2e.

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
    """``z_uv = x_u ⊗ y_v``: all products of irreps, without weights, sorted by irrep.

    Args:
        irreps_in1, irreps_in2: irreps of x and y.
        filter_ir_out: irreps to keep, by default all.
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
    """``z_u = x_u ⊗ y_u`` for each copy u of the irreps, without weights.

    Args:
        irreps_in1, irreps_in2: irreps of x and y, equally many.
        filter_ir_out: irreps to keep, by default all.
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
    """``x ⊗ x``: fully connected to ``irreps_out``, with weights; or all independent products, without weights.

    Args:
        irreps_in: irreps of x.
        irreps_out: irreps of the output, or None for all independent products, sorted by irrep.
        filter_ir_out: irreps to keep if ``irreps_out`` is None, by default all.
        irrep_normalization, options: see `TensorProduct`.

    Raises:
        ValueError: both ``irreps_out`` and ``filter_ir_out``.

    Its normalization differs from that of general products, whose inputs are independent. Two copies u < v of an irrep
    are independent, but x_u and itself are not: for normal components, E[x_i x_j x_k x_l] = δ_ij δ_kl + δ_ik δ_jl
    + δ_il δ_jk, and independent inputs have only the middle term. The output of l = 0 is |x|²/√d, with d the dimension
    of the irrep and E[|x|⁴]/d = d + 2 instead of 1, so the square of its coefficient is divided by d + 2. The outputs
    of l = 2, 4, ... are symmetric and traceless: the first term vanishes and the others are equal, so it is divided by
    2. The outputs of l = 1, 3, ... are antisymmetric and vanish.

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

    def forward(  # type: ignore[override]  # one input
        self, x: Tensor, weight: Tensor | list[Tensor] | None = None
    ) -> Tensor:
        """Return the product (..., irreps_out.dim) of ``x`` (..., irreps_in.dim); weights as in `TensorProduct`."""
        return super().forward(x, x, weight)

    def __repr__(self) -> str:
        return self._describe(repr(self.irreps_in))
