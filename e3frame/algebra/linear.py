"""Plan of an equivariant linear map: which terms it mixes, and their normalization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

from e3frame.algebra.errors import AssertedError, OutsideError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.plan import check_choice

LinearNormalization = Literal["element", "path"]


class LinearInstruction(NamedTuple):
    """One path: ``out[i_out]_w += path_weight Σ_u W_uw in[i_in]_u``, or a bias of ``out[i_out]`` if ``i_in`` is -1."""

    i_in: int
    i_out: int
    path_shape: tuple[int, ...]
    path_weight: float


@dataclass(frozen=True)
class LinearPlan:
    """A linear map ``irreps_in -> irreps_out``; built by `plan_linear`.

    With channels, the map mixes ``f_in`` channels into ``f_out``, with separate weights per input and output.

    Attributes:
        instructions: the paths, then the biases.
        weight_numel: number of weights, per input and output channel.
        bias_numel: number of biases, per output channel.
        weight_shape: ``([f_in, f_out,] weight_numel)``.
        bias_shape: ``([f_out,] bias_numel)``.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    instructions: tuple[LinearInstruction, ...]
    f_in: int | None = None
    f_out: int | None = None

    weight_numel: int = field(init=False, repr=False, compare=False)
    bias_numel: int = field(init=False, repr=False, compare=False)
    weight_shape: tuple[int, ...] = field(init=False, repr=False, compare=False)
    bias_shape: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights = sum(prod(ins.path_shape) for ins in self.instructions if ins.i_in >= 0)
        biases = sum(prod(ins.path_shape) for ins in self.instructions if ins.i_in < 0)
        own = {
            "weight_numel": weights,
            "bias_numel": biases,
            "weight_shape": (weights,) if self.f_in is None else (self.f_in, self.f_out, weights),
            "bias_shape": (biases,) if self.f_out is None else (self.f_out, biases),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property
    def output_mask(self) -> tuple[bool, ...]:
        """Whether a path or a bias reaches each term of ``irreps_out``; other terms are zero."""
        reached = {ins.i_out for ins in self.instructions if 0 not in ins.path_shape}
        return tuple(i in reached for i in range(len(self.irreps_out)))


def plan_linear(
    irreps_in: IrrepsLike,
    irreps_out: IrrepsLike,
    biases: bool | Sequence[bool] = False,
    f_in: int | None = None,
    f_out: int | None = None,
    path_normalization: LinearNormalization = "element",
    instructions: Iterable[tuple[int, int]] | None = None,
) -> LinearPlan:
    """Plan the linear map ``out_w = Σ_u c W_uw x_u (+ b_w)`` between equal irreps.

    The coefficient of a path is ``c = 1/√n``. n is the number of elements summed into its output (``element``), or the
    number of elements of the path times the number of paths into its output (``path``); times ``f_in`` with channels.

    Args:
        irreps_in, irreps_out: irreps of input and output.
        biases: whether each output term has a bias; True for all 0e.
        f_in, f_out: numbers of channels, both or neither.
        path_normalization: ``element`` or ``path``.
        instructions: paths (i_in, i_out); by default all with equal irreps.

    Raises:
        ValueError: an index out of range, a path between different irreps, a bias on an irrep other than 0e, or only
            one of ``f_in`` and ``f_out``.
    """
    check_choice("path_normalization", path_normalization, LinearNormalization)
    if (f_in is None) != (f_out is None):
        raise ValueError(f"f_in and f_out must be given together, got {f_in} and {f_out}")
    irreps_in, irreps_out = Irreps(irreps_in), Irreps(irreps_out)
    if instructions is None:
        instructions = [
            (i, j)
            for i, (_, ir_in) in enumerate(irreps_in)
            for j, (_, ir_out) in enumerate(irreps_out)
            if ir_in == ir_out
        ]
    indices = [_read_path(n, path, irreps_in, irreps_out) for n, path in enumerate(instructions)]
    into: dict[int, list[int]] = {}
    for i, j in indices:
        into.setdefault(j, []).append(irreps_in[i].mul)
    paths = []
    for i, j in indices:
        terms = sum(into[j]) if path_normalization == "element" else irreps_in[i].mul * len(into[j])
        terms *= 1 if f_in is None else f_in
        shape = (irreps_in[i].mul, irreps_out[j].mul)
        paths.append(LinearInstruction(i, j, shape, (terms or 1) ** -0.5))
    paths += [LinearInstruction(-1, j, (irreps_out[j].dim,), 1.0) for j in _read_biases(biases, irreps_out)]
    return LinearPlan(irreps_in, irreps_out, tuple(paths), f_in, f_out)


def _read_path(n: int, path: tuple[int, int], irreps_in: Irreps, irreps_out: Irreps) -> tuple[int, int]:
    i, j = path
    for name, k, irreps in (("i_in", i, irreps_in), ("i_out", j, irreps_out)):
        if not 0 <= k < len(irreps):
            raise OutsideError(f"instruction {n}: {name} = {k} is outside {irreps}, which has {len(irreps)} terms")
    if irreps_in[i].ir != irreps_out[j].ir:
        raise ValueError(f"instruction {n}: a linear map needs equal irreps, got {irreps_in[i]} -> {irreps_out[j]}")
    return i, j


def _read_biases(biases: bool | Sequence[bool], irreps_out: Irreps) -> list[int]:
    if isinstance(biases, bool):
        biases = [biases and ir.is_scalar() for _, ir in irreps_out]
    if len(biases) != len(irreps_out):
        raise AssertedError(f"biases must be one boolean for each of {len(irreps_out)} output terms, got {len(biases)}")
    for bias, mul_ir in zip(biases, irreps_out, strict=True):
        if bias and not mul_ir.ir.is_scalar():
            raise AssertedError(f"a bias on {mul_ir} would break equivariance; only 0e may have one")
    return [j for j, bias in enumerate(biases) if bias]
