"""Tensor products as modules: a plan, its weights, and the kernel that runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.errors import AssertedError, MissingWeightsError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.plan import Instruction, IrrepNormalization, PathNormalization, ProductPlan, plan_explicit
from e3frame.o3.state import LoadsE3nn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CommonOptions(TypedDict, total=False):
    """Keyword arguments of all products; see `TensorProduct`."""

    in1_var: Iterable[float] | None
    in2_var: Iterable[float] | None
    out_var: Iterable[float] | None
    internal_weights: bool | None
    shared_weights: bool | None
    compile_left_right: bool
    compile_right: bool
    normalization: IrrepNormalization | None
    _specialized_code: bool | None
    _optimize_einsums: bool | None


class ProductOptions(CommonOptions, total=False):
    """Keyword arguments of products that take ``path_normalization`` by keyword."""

    path_normalization: PathNormalization | None


class TensorProduct(LoadsE3nn):
    """Tensor product along explicit paths, ``out_k = Σ_paths Σ_uvij c w_uv.. C_ijk x_ui y_vj``.

    C is `wigner_3j`. The coefficient c of a path is its ``path_weight`` in the attribute ``instructions``, chosen so
    that inputs and weights of unit variance give outputs of unit variance.

    Args:
        irreps_in1, irreps_in2, irreps_out: irreps of x, y and the output.
        instructions: paths ``(i_in1, i_in2, i_out, connection_mode, has_weight[, path_weight])``. The mode says how the
            copies u of in1, v of in2 and w of out combine: uvw, uvu, uvv, uuw, uuu, uvuv, uvu<v or u<vw. The given
            ``path_weight`` multiplies the variance of the path.
        in1_var, in2_var, out_var: variance of each term of the irreps, by default 1.
        irrep_normalization, path_normalization: see `e3frame.algebra.plan.plan_explicit`.
        internal_weights: whether the module owns its weights; by default it does if they are shared.
        shared_weights: whether all rows share the weights (the default) or each row has its own.
        compile_left_right, compile_right, _specialized_code, _optimize_einsums: code generation options of e3nn, which
            have no effect here: `forward` and `right` always exist.
        normalization: deprecated name of irrep_normalization.

    Raises:
        ValueError: paths that do not fit the irreps, or internal weights that are not shared. It is also of the type
            that e3nn raises, see `e3frame.algebra.errors`.

    Source: Thomas et al., Tensor field networks, https://arxiv.org/abs/1802.08219, eq. 8; Geiger and Smidt,
    https://arxiv.org/abs/2207.09453, section on the tensor product.

    The cross products of 16 pairs of vectors, and the dot product of two, over √3 so that its variance is 1:

    >>> TensorProduct("16x1o", "16x1o", "16x1e", [(0, 0, 0, "uuu", False)])
    TensorProduct(16x1o x 16x1o -> 16x1e | 16 paths | 0 weights)
    >>> dot = TensorProduct("1o", "1o", "0e", [(0, 0, 0, "uuu", False)])
    >>> dot(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 2.0])) * 3**0.5
    tensor([6.])
    """

    weight: Tensor

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        instructions: Iterable[Sequence[Any]],
        in1_var: Iterable[float] | None = None,
        in2_var: Iterable[float] | None = None,
        out_var: Iterable[float] | None = None,
        irrep_normalization: IrrepNormalization | None = None,
        path_normalization: PathNormalization | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: IrrepNormalization | None = None,
        _specialized_code: bool | None = None,
        _optimize_einsums: bool | None = None,
    ) -> None:
        super().__init__()
        self._build(
            lambda **options: plan_explicit(irreps_in1, irreps_in2, irreps_out, instructions, **options),
            irrep_normalization,
            in1_var=in1_var,
            in2_var=in2_var,
            out_var=out_var,
            path_normalization=path_normalization,
            internal_weights=internal_weights,
            shared_weights=shared_weights,
            normalization=normalization,
        )

    def _build(
        self,
        planner: Callable[..., ProductPlan],
        irrep_normalization: IrrepNormalization | None,
        *,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        normalization: IrrepNormalization | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        _specialized_code: bool | None = None,
        _optimize_einsums: bool | None = None,
        **options: Any,
    ) -> None:
        """Set up the plan that ``planner`` returns for the options that are not None."""
        if normalization is not None:
            warnings.warn("normalization= is deprecated: use irrep_normalization=", DeprecationWarning, stacklevel=3)
            irrep_normalization = normalization
        options["irrep_normalization"] = irrep_normalization
        plan = planner(**{name: option for name, option in options.items() if option is not None})
        self._own(plan, internal_weights, shared_weights)

    @classmethod
    def from_plan(
        cls, plan: ProductPlan, internal_weights: bool | None = None, shared_weights: bool | None = None
    ) -> TensorProduct:
        """Return the module that runs ``plan``; the other arguments as for the class."""
        module = TensorProduct.__new__(TensorProduct)
        nn.Module.__init__(module)
        module._own(plan, internal_weights, shared_weights)
        return module

    def _own(self, plan: ProductPlan, internal_weights: bool | None, shared_weights: bool | None) -> None:
        self.plan = plan
        self.irreps_in1, self.irreps_in2, self.irreps_out = plan.irreps_in1, plan.irreps_in2, plan.irreps_out
        self.instructions = list(plan.instructions)
        self.weight_numel = plan.weight_numel
        self.shared_weights = shared_weights is not False
        if internal_weights is None:
            internal_weights = self.shared_weights and any(ins.has_weight for ins in plan.instructions)
        if internal_weights and not self.shared_weights:
            raise AssertedError(
                "internal weights are shared by all rows; with shared_weights=False, pass weights to forward"
            )
        self.internal_weights = internal_weights
        self._own_weights("weight", torch.randn(plan.weight_numel) if internal_weights else None)
        self.register_buffer("output_mask", expand_mask(plan.output_mask, plan.irreps_out), persistent=False)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | list[Tensor] | None = None) -> Tensor:
        """Return the product (..., irreps_out.dim).

        Args:
            x: (..., irreps_in1.dim).
            y: (..., irreps_in2.dim).
            weight: (weight_numel,) if shared, else (..., weight_numel); or a list with the weights of each path, of
                shape ``path_shape`` or (..., *path_shape). By default the module's own weights.

        Raises:
            ValueError: missing weights, or tensors of another shape.
        """
        return kernels.product(x, y, self._weight(weight), self.plan)

    def right(self, y: Tensor, weight: Tensor | list[Tensor] | None = None) -> Tensor:
        """Return the matrix B (..., irreps_in1.dim, irreps_out.dim) of y, with ``forward(x, y)_k = Σ_i x_i B_ik``."""
        w = self._weight(weight)
        if w is not None and not self.shared_weights:
            w = w.unsqueeze(-2)
        identity = torch.eye(self.irreps_in1.dim, dtype=y.dtype, device=y.device)
        return kernels.product(identity, y.unsqueeze(-2), w, self.plan)

    def _weight(self, weight: Tensor | list[Tensor] | None) -> Tensor | None:
        if weight is None:
            if self.weight_numel > 0 and not self.internal_weights:
                raise MissingWeightsError(f"{self!r} has no weights of its own: pass {self.weight_numel} weights")
            return self.weight if self.weight_numel else None
        if isinstance(weight, list):
            shapes = [ins.path_shape for ins in self.instructions if ins.has_weight]
            if len(weight) != len(shapes):
                raise ValueError(f"expected weights of {len(shapes)} paths, got {len(weight)}")
            weight = torch.cat([w.flatten(w.ndim - len(s)) for w, s in zip(weight, shapes, strict=True)], dim=-1)
        if weight.shape[-1] != self.weight_numel or self.shared_weights != (weight.ndim == 1):
            lead = "" if self.shared_weights else "..., "
            raise AssertedError(f"weight must have shape ({lead}{self.weight_numel}), got {tuple(weight.shape)}")
        return weight

    def weight_view_for_instruction(self, instruction: int, weight: Tensor | None = None) -> Tensor:
        """Return a view (..., *path_shape) of the weights of one path.

        Raises:
            ValueError: the path has no weights.
        """
        where = self.plan.weight_slices[instruction]
        if where is None:
            raise ValueError(f"instruction {instruction} has no weights")
        flat = self._weight(weight)
        flat = self.weight if flat is None else flat  # no weights: the view is empty
        return flat[..., where].unflatten(-1, self.instructions[instruction].path_shape)

    def weight_views(
        self, weight: Tensor | None = None, yield_instruction: bool = False
    ) -> Iterator[Tensor | tuple[int, Instruction, Tensor]]:
        """Yield a view of the weights of each weighted path, on request with its number and instruction."""
        for n, ins in enumerate(self.instructions):
            if ins.has_weight:
                view = self.weight_view_for_instruction(n, weight)
                yield (n, ins, view) if yield_instruction else view

    def weight_matrices(self) -> dict[str, list[Tensor]]:
        """Return the matrices (u v, w) of the paths into a sum over copies; weights of other modes are no matrices."""
        modes = ("uvw", "uuw", "u<vw")
        if not self.internal_weights:
            return {}
        views = ((ins, view) for _, ins, view in self.weight_views(yield_instruction=True))
        return {"weight": [view.flatten(0, -2) for ins, view in views if ins.connection_mode in modes]}

    def visualize(
        self,
        weight: Tensor | None = None,
        plot_weight: bool = True,
        aspect_ratio: float | Literal["auto"] = 1,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """Draw the paths with matplotlib; see `e3frame.viz.draw_tensor_product`."""
        from e3frame.viz.tensor_product import draw_tensor_product

        return draw_tensor_product(self, weight, plot_weight, aspect_ratio, ax)

    def __repr__(self) -> str:
        return self._describe(f"{self.irreps_in1.simplify()} x {self.irreps_in2.simplify()}")

    def _describe(self, inputs: str) -> str:
        return (
            f"{type(self).__name__}({inputs} -> {self.irreps_out.simplify()} "
            f"| {self.plan.num_paths} paths | {self.weight_numel} weights)"
        )


def expand_mask(mask: Sequence[bool], irreps: Irreps) -> Tensor:
    """Expand a mask of the terms of ``irreps`` to 0 or 1 for each component, (irreps.dim,)."""
    return torch.tensor([float(one) for one, mul_ir in zip(mask, irreps, strict=True) for _ in range(mul_ir.dim)])
