"""Plan of a bilinear product of irreps: its paths, their weights and their normalization.

A plan is pure data. The type checker reads its ``irreps_out`` and a kernel runs its ``instructions``, so the type of a
product and its value cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from e3frame.algebra.errors import AssertedError, OutsideError, UnknownModeError
from e3frame.algebra.irreps import Irreps, IrrepsLike, MulIr

ConnectionMode = Literal["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw"]
IrrepNormalization = Literal["component", "norm", "none"]
PathNormalization = Literal["element", "path", "none"]


class Instruction(NamedTuple):
    """One path: ``out[i_out] += path_weight · w · C(in1[i_in1] ⊗ in2[i_in2])``."""

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: ConnectionMode
    has_weight: bool
    path_weight: float
    path_shape: tuple[int, ...]


class PathOptions(TypedDict, total=False):
    """Keyword arguments of `plan_explicit` that all products take."""

    in1_var: Iterable[float] | None
    in2_var: Iterable[float] | None
    out_var: Iterable[float] | None
    path_normalization: PathNormalization


class PlanOptions(PathOptions, total=False):
    """Keyword arguments of `plan_explicit`."""

    irrep_normalization: IrrepNormalization


class _Mode(NamedTuple):
    """A connection mode, as functions of the multiplicities u, v of the inputs and w of the output."""

    path_shape: Callable[[int, int, int], tuple[int, ...]]
    terms: Callable[[int, int], int]  # how many products each output element sums
    same_inputs: bool  # whether u = v
    multiplicity: Callable[[int, int], int] | None  # the required w; None for any
    needs_weight: bool = False


def _pairs(u: int, v: int) -> int:
    return u * (v - 1) // 2


_MODES: dict[str, _Mode] = {
    "uvw": _Mode(lambda u, v, w: (u, v, w), lambda u, v: u * v, False, None, needs_weight=True),
    "uvu": _Mode(lambda u, v, w: (u, v), lambda u, v: v, False, lambda u, v: u),
    "uvv": _Mode(lambda u, v, w: (u, v), lambda u, v: u, False, lambda u, v: v),
    "uuw": _Mode(lambda u, v, w: (u, w), lambda u, v: u, True, None),
    "uuu": _Mode(lambda u, v, w: (u,), lambda u, v: 1, True, lambda u, v: u),
    "uvuv": _Mode(lambda u, v, w: (u, v), lambda u, v: 1, False, lambda u, v: u * v),
    "uvu<v": _Mode(lambda u, v, w: (_pairs(u, v),), lambda u, v: 1, True, _pairs),
    "u<vw": _Mode(lambda u, v, w: (_pairs(u, v), w), _pairs, True, None, needs_weight=True),
}


@dataclass(frozen=True)
class ProductPlan:
    """A bilinear product ``irreps_in1 ⊗ irreps_in2 -> irreps_out``; built by the functions of `e3frame.algebra.paths`.

    Attributes:
        dims: dimensions of the inputs and the output.
        weight_numel: number of weights.
    """

    irreps_in1: Irreps
    irreps_in2: Irreps
    irreps_out: Irreps
    instructions: tuple[Instruction, ...]
    dims: tuple[int, int, int] = field(init=False, repr=False, compare=False)
    weight_numel: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numel = sum(prod(ins.path_shape) for ins in self.instructions if ins.has_weight)
        object.__setattr__(self, "dims", (self.irreps_in1.dim, self.irreps_in2.dim, self.irreps_out.dim))
        object.__setattr__(self, "weight_numel", numel)

    def degrees(self, ins: Instruction) -> tuple[int, int, int]:
        """Return the degrees of the inputs and the output of an instruction."""
        return self.irreps_in1[ins.i_in1].ir.l, self.irreps_in2[ins.i_in2].ir.l, self.irreps_out[ins.i_out].ir.l

    def scaled(self, factor: float) -> ProductPlan:
        """Return the plan of ``factor`` times this product."""
        paths = (ins._replace(path_weight=ins.path_weight * factor) for ins in self.instructions)
        return replace(self, instructions=tuple(paths))

    @property
    def weight_slices(self) -> tuple[slice | None, ...]:
        """Slice of each instruction's weights in the flat weights; None for instructions without weights."""
        slices: list[slice | None] = []
        start = 0
        for ins in self.instructions:
            size = prod(ins.path_shape) if ins.has_weight else 0
            slices.append(slice(start, start + size) if ins.has_weight else None)
            start += size
        return tuple(slices)

    def matrix_paths(self) -> Iterator[tuple[Instruction, slice, float]]:
        """Yield the paths of a fully connected product with even scalars, as a linear map of in1 for each scalar.

        Yields:
            (path, slice of its weights, factor of the linear map), without empty paths.
        """
        for ins, where in zip(self.instructions, self.weight_slices, strict=True):
            if 0 not in ins.path_shape and where is not None:
                # The symbol of l ⊗ 0 -> l is the unit matrix over √(2l + 1).
                yield ins, where, ins.path_weight * self.irreps_in1[ins.i_in1].ir.dim ** -0.5

    @property
    def num_paths(self) -> int:
        """Number of products of two irreps, counting copies."""
        return sum(prod(ins.path_shape) for ins in self.instructions)

    @property
    def output_mask(self) -> tuple[bool, ...]:
        """Whether a path reaches each term of ``irreps_out``; other terms are zero."""
        reached = {ins.i_out for ins in self.instructions if ins.path_weight != 0 and 0 not in ins.path_shape}
        return tuple(i in reached for i in range(len(self.irreps_out)))


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ValueError unless ``value`` is one of the strings of the Literal type ``choices``."""
    if value not in get_args(choices):
        raise AssertedError(f"{name} must be one of {', '.join(get_args(choices))}; got {value!r}")


def plan_explicit(
    irreps_in1: IrrepsLike,
    irreps_in2: IrrepsLike,
    irreps_out: IrrepsLike,
    instructions: Iterable[Sequence[Any]],
    in1_var: Iterable[float] | None = None,
    in2_var: Iterable[float] | None = None,
    out_var: Iterable[float] | None = None,
    irrep_normalization: IrrepNormalization = "component",
    path_normalization: PathNormalization = "element",
) -> ProductPlan:
    """Plan a product along given paths.

    The coefficient c of a path is ``c² = path_weight · var_out · a / b``. If the path sums n products into each output
    element,

    - a is ``2l_out + 1`` (``component``), ``(2l_1 + 1)(2l_2 + 1)`` (``norm``) or 1 (``none``);
    - b is ``Σ var_in1 var_in2 n`` over the paths into the same output (``element``), the path's own term of this sum
      times the number of these paths (``path``), or 1 (``none``).

    Args:
        irreps_in1, irreps_in2, irreps_out: irreps of the inputs and the output.
        instructions: paths ``(i_in1, i_in2, i_out, connection_mode, has_weight[, path_weight])``; see `TensorProduct`.
        in1_var, in2_var, out_var: variance of each term, by default 1.
        irrep_normalization: ``component``, ``norm`` or ``none``.
        path_normalization: ``element``, ``path`` or ``none``.

    Raises:
        ValueError: an invalid instruction, or one that breaks a selection rule or does not fit the multiplicities.
    """
    check_choice("irrep_normalization", irrep_normalization, IrrepNormalization)
    check_choice("path_normalization", path_normalization, PathNormalization)
    irreps = (Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out))
    paths = [_read_instruction(n, ins, irreps) for n, ins in enumerate(instructions)]
    variances = [
        _read_variances(name, given, len(own))
        for name, given, own in zip(("in1_var", "in2_var", "out_var"), (in1_var, in2_var, out_var), irreps, strict=True)
    ]
    normalized = _normalized(paths, irreps, variances, irrep_normalization, path_normalization)
    return ProductPlan(*irreps, normalized)


def _normalized(
    paths: Sequence[Instruction],
    irreps: tuple[Irreps, Irreps, Irreps],
    variances: Sequence[Sequence[float]],
    irrep_normalization: IrrepNormalization,
    path_normalization: PathNormalization,
) -> tuple[Instruction, ...]:
    """Return the paths with the coefficients of `plan_explicit` instead of their shares of the variance."""
    loads = [
        variances[0][ins.i_in1]
        * variances[1][ins.i_in2]
        * _MODES[ins.connection_mode].terms(irreps[0][ins.i_in1].mul, irreps[1][ins.i_in2].mul)
        for ins in paths
    ]
    into: dict[int, list[float]] = {}
    for ins, load in zip(paths, loads, strict=True):
        into.setdefault(ins.i_out, []).append(load)

    normalized = []
    for ins, load in zip(paths, loads, strict=True):
        ir1, ir2, ir_out = irreps[0][ins.i_in1].ir, irreps[1][ins.i_in2].ir, irreps[2][ins.i_out].ir
        numerator = {"component": ir_out.dim, "norm": ir1.dim * ir2.dim, "none": 1}[irrep_normalization]
        denominator = {"element": sum(into[ins.i_out]), "path": load * len(into[ins.i_out]), "none": 1}[
            path_normalization
        ]
        square = ins.path_weight * variances[2][ins.i_out] * numerator / (denominator if denominator > 0 else 1)
        normalized.append(ins._replace(path_weight=sqrt(square)))
    return tuple(normalized)


def _read_variances(name: str, given: Iterable[float] | None, length: int) -> list[float]:
    if given is None:
        return [1.0] * length
    variances = [float(variance) for variance in given]
    if len(variances) != length:
        raise AssertedError(f"{name} needs one number for each of {length} terms of its irreps, got {len(variances)}")
    return variances


def _read_instruction(n: int, given: Sequence[Any], irreps: tuple[Irreps, Irreps, Irreps]) -> Instruction:
    if len(given) not in (5, 6):
        raise ValueError(
            f"instruction {n} must be (i_in1, i_in2, i_out, connection_mode, has_weight[, path_weight]), got {given!r}"
        )
    i_in1, i_in2, i_out, mode, has_weight = given[:5]
    path_weight = float(given[5]) if len(given) == 6 else 1.0
    indices = (i_in1, i_in2, i_out)
    for name, i, own in zip(("i_in1", "i_in2", "i_out"), indices, irreps, strict=True):
        if not 0 <= i < len(own):
            raise OutsideError(f"instruction {n}: {name} = {i} is outside {own}, which has {len(own)} terms")
    if mode not in _MODES:
        raise UnknownModeError(f"instruction {n}: connection_mode must be one of {', '.join(_MODES)}; got {mode!r}")
    if path_weight < 0:
        raise ValueError(f"instruction {n}: path_weight must not be negative, got {path_weight}")
    mul_irs = [own[i] for own, i in zip(irreps, indices, strict=True)]
    try:
        _check_path(mode, has_weight, *mul_irs)
    except ValueError as error:
        raise AssertedError(f"instruction {n} ({', '.join(map(str, mul_irs))}, {mode!r}): {error}") from None
    path_shape = _MODES[mode].path_shape(*(mul_ir.mul for mul_ir in mul_irs))
    return Instruction(i_in1, i_in2, i_out, mode, bool(has_weight), path_weight, path_shape)


def _check_path(mode: str, has_weight: bool, in1: MulIr, in2: MulIr, out: MulIr) -> None:
    rule = _MODES[mode]
    if out.ir not in list(in1.ir * in2.ir):
        raise ValueError(f"{in1.ir} ⊗ {in2.ir} gives {', '.join(map(str, in1.ir * in2.ir))}, not {out.ir}")
    if rule.same_inputs and in1.mul != in2.mul:
        raise ValueError(f"the mode needs inputs of equal multiplicity, got {in1.mul} and {in2.mul}")
    if rule.multiplicity is not None and out.mul != rule.multiplicity(in1.mul, in2.mul):
        raise ValueError(f"the mode gives {rule.multiplicity(in1.mul, in2.mul)}x{out.ir}, not {out}")
    if rule.needs_weight and not has_weight:
        raise ValueError("the mode needs weights")
    if mode == "uuw" and not has_weight and out.mul != 1:
        raise ValueError(f"the mode without weights gives 1x{out.ir}, not {out}")
