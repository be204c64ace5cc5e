"""Irreps of O(3) and their direct sums: immutable, hashable descriptions of tensors, without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from operator import index
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Self, SupportsIndex, TypeAlias, overload

from e3frame.algebra.errors import NoIrrepsError
from e3frame.algebra.representation import Representation
from e3frame.algebra.syntax import IrrepsSyntaxError, parse_irrep, parse_irreps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Irrep", "IrrepLike", "Irreps", "IrrepsLike", "IrrepsSyntaxError", "MulIr", "SortedIrreps"]

IrrepLike: TypeAlias = "Irrep | MulIr | str | tuple[int, int]"
IrrepsLike: TypeAlias = "Irreps | Irrep | MulIr | str | Iterable[MulIr | IrrepLike | tuple[int, IrrepLike]] | None"
_Filter: TypeAlias = "IrrepsLike | Callable[[MulIr], bool]"


class Irrep(Representation, tuple[int, int]):
    """Irreducible representation of O(3): degree ``l`` and parity ``p`` (1 even, -1 odd).

    Written ``"1o"``, ``"1y"`` (the parity (-1)^l of the spherical harmonics), ``(1, -1)`` or ``1, -1``.
    Ordered by (l, p), odd before even: ``0o < 0e < 1o < 1e``.

    Raises:
        ValueError: a text that is not an irrep, a negative degree, or a parity other than 1 and -1.

    >>> Irrep("1o").dim, list(Irrep("1o") * Irrep("1o"))
    (3, [0e, 1e, 2e])
    """

    __slots__ = ()

    def __new__(cls, l: IrrepLike | int, p: int | None = None) -> Irrep:  # noqa: E741
        if p is None:
            if isinstance(l, Irrep):
                return l
            if isinstance(l, MulIr):
                return l.ir
            if isinstance(l, str):
                l, p = parse_irrep(l)  # noqa: E741
            elif isinstance(l, tuple) and len(l) == 2:
                l, p = l  # noqa: E741
        if p is None or not hasattr(l, "__index__"):  # isinstance of SupportsIndex would take 50 times as long
            raise ValueError(f"an irrep is a degree l and a parity, such as '1o' or (1, -1); got {l!r}")
        degree = index(l)  # type: ignore[arg-type]  # l has an __index__
        if degree < 0:
            raise ValueError(f"the degree l of an irrep must be at least 0, got {degree}")
        if p not in (-1, 1):
            raise ValueError(f"the parity of an irrep must be 1 (even) or -1 (odd), got {p!r}")
        return super().__new__(cls, (degree, int(p)))

    def _direct_sum(self) -> Irreps:
        return Irreps(self)

    @property
    def l(self) -> int:  # noqa: E743
        """Degree."""
        return self[0]

    @property
    def p(self) -> int:
        """Parity: 1 (even) or -1 (odd)."""
        return self[1]

    @property
    def dim(self) -> int:
        """Dimension 2l + 1."""
        return 2 * self[0] + 1

    def is_scalar(self) -> bool:
        """Whether this is 0e."""
        return self == (0, 1)

    @classmethod
    def iterator(cls, lmax: int | None = None) -> Iterator[Irrep]:
        """Yield all irreps up to ``lmax``, the parity of the spherical harmonics first: 0e, 0o, 1o, 1e, 2e, 2o, ..."""
        for degree in count() if lmax is None else range(lmax + 1):
            yield Irrep(degree, (-1) ** degree)
            yield Irrep(degree, -((-1) ** degree))

    def _no_list(self, *_: object) -> NoReturn:
        raise NotImplementedError("an irrep has no elements: did you mean Irreps(...)?")

    # Not __len__, too: torch.compile guards tuples by their length.
    count = index = __contains__ = _no_list

    def __mul__(self, other: IrrepLike) -> Iterator[Irrep]:  # type: ignore[override]  # the tensor product, as in e3nn
        """Yield the irreps of the tensor product, by degree."""
        other = Irrep(other)
        for degree in range(abs(self.l - other.l), self.l + other.l + 1):
            yield Irrep(degree, self.p * other.p)

    def __rmul__(self, other: SupportsIndex) -> Irreps:  # type: ignore[override]  # a multiplicity, as in e3nn
        return Irreps([(index(other), self)])

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]  # the direct sum, as in e3nn
        return Irreps(self) + Irreps(other)

    def __repr__(self) -> str:
        return f"{self[0]}{'e' if self[1] == 1 else 'o'}"


class MulIr(tuple[int, Irrep]):
    """A multiplicity and an irrep: ``8x1o``."""

    __slots__ = ()

    def __new__(cls, mul: Any, ir: IrrepLike | None = None) -> MulIr:
        if ir is None:
            mul, ir = mul
        try:
            mul = index(mul)
        except TypeError:
            raise ValueError(f"a multiplicity must be an integer, got {mul!r}") from None
        if mul < 0:
            raise ValueError(f"a multiplicity must be at least 0, got {mul}")
        return super().__new__(cls, (mul, Irrep(ir)))

    @property
    def mul(self) -> int:
        """Multiplicity."""
        return self[0]

    @property
    def ir(self) -> Irrep:
        """Irrep."""
        return self[1]

    @property
    def dim(self) -> int:
        """Dimension mul (2l + 1)."""
        return self[0] * self[1].dim

    def __repr__(self) -> str:
        return f"{self[0]}x{self[1]}"


class SortedIrreps(NamedTuple):
    """Result of `Irreps.sort`: term ``i`` moved to ``p[i]``, and term ``i`` of ``irreps`` came from ``inv[i]``."""

    irreps: Irreps
    p: tuple[int, ...]
    inv: tuple[int, ...]


def _read_term(term: object) -> MulIr:
    if isinstance(term, MulIr):
        return term
    if isinstance(term, str | Irrep):
        return MulIr(1, Irrep(term))
    if isinstance(term, tuple | list) and len(term) == 2:
        return MulIr(*term)
    raise NoIrrepsError(f"each term of irreps must be an irrep or (multiplicity, irrep), got {term!r}")


class Irreps(Representation, tuple[MulIr, ...]):
    """Direct sum of irreps of O(3): the layout of a tensor's last axis, in (multiplicity, component) order.

    Written ``"8x0e + 4x1o"``, an `Irrep`, or an iterable of irreps and tuples (multiplicity, irrep).

    Raises:
        ValueError: anything else; an `IrrepsSyntaxError` for a text, with the position.

    >>> irreps = Irreps("8x0e + 4x1o")
    >>> irreps.dim, irreps.slices(), irreps.count("1o"), "1e" in irreps
    (20, [slice(0, 8, None), slice(8, 20, None)], 4, False)
    """

    __slots__ = ()

    def __new__(cls, irreps: IrrepsLike = None) -> Self:
        if type(irreps) is cls:
            return irreps
        if irreps is None:
            terms: Iterable[MulIr] = ()
        elif isinstance(irreps, str):
            terms = [MulIr(mul, Irrep(*irrep)) for mul, *irrep in parse_irreps(irreps)]
        elif isinstance(irreps, Irrep | MulIr):
            terms = [_read_term(irreps)]
        elif isinstance(irreps, Iterable):
            terms = [_read_term(term) for term in irreps]
        else:
            raise NoIrrepsError(f"irreps are text such as '8x0e + 4x1o' or a list of such terms, got {irreps!r}")
        return super().__new__(cls, terms)

    def _direct_sum(self) -> Irreps:
        return self

    @staticmethod
    def spherical_harmonics(lmax: int, p: int = -1) -> Irreps:
        """Return the irreps of the spherical harmonics of degrees 0 to ``lmax`` of a vector of parity ``p``."""
        return Irreps([(1, (degree, p**degree)) for degree in range(lmax + 1)])

    @property
    def dim(self) -> int:
        """Total dimension."""
        return sum(mul_ir.dim for mul_ir in self)

    @property
    def num_irreps(self) -> int:
        """Sum of the multiplicities."""
        return sum(mul for mul, _ in self)

    @property
    def ls(self) -> list[int]:
        """Degree of every copy of every irrep."""
        return [ir.l for mul, ir in self for _ in range(mul)]

    @property
    def lmax(self) -> int:
        """Highest degree among terms of nonzero multiplicity.

        Raises:
            ValueError: there is no such term.
        """
        degrees = [ir.l for mul, ir in self if mul > 0]
        if not degrees:
            raise ValueError("empty irreps have no lmax")
        return max(degrees)

    def slices(self) -> list[slice]:
        """Return the position of each term on the last axis."""
        slices, start = [], 0
        for mul_ir in self:
            slices.append(slice(start, start + mul_ir.dim))
            start += mul_ir.dim
        return slices

    def count(self, ir: IrrepLike) -> int:
        """Return the total multiplicity of ``ir``."""
        ir = Irrep(ir)
        return sum(mul for mul, own in self if own == ir)

    def index(self, *_: object) -> NoReturn:
        """Raise NotImplementedError: an irrep may occur in several terms."""
        raise NotImplementedError("the position of an irrep is ambiguous; iterate instead")

    def is_scalar(self) -> bool:
        """Whether every irrep is 0e."""
        return all(ir.is_scalar() for _, ir in self)

    def simplify(self) -> Irreps:
        """Merge adjacent terms of equal irreps and drop empty terms. The layout of tensors does not change."""
        terms: list[tuple[int, Irrep]] = []
        for mul, ir in self:
            if terms and terms[-1][1] == ir:
                terms[-1] = (terms[-1][0] + mul, ir)
            elif mul > 0:
                terms.append((mul, ir))
        return Irreps(terms)

    def remove_zero_multiplicities(self) -> Irreps:
        """Drop terms of multiplicity 0."""
        return Irreps([mul_ir for mul_ir in self if mul_ir.mul > 0])

    def sort(self) -> SortedIrreps:
        """Sort the terms by irrep; equal irreps keep their order.

        >>> Irreps("2o + 1e + 0e + 1e").sort()
        SortedIrreps(irreps=1x0e+1x1e+1x1e+1x2o, p=(3, 1, 0, 2), inv=(2, 1, 3, 0))
        """
        inv = sorted(range(len(self)), key=lambda i: (self[i].ir, i))
        p = sorted(range(len(self)), key=inv.__getitem__)
        return SortedIrreps(Irreps([self[i] for i in inv]), tuple(p), tuple(inv))

    def regroup(self) -> Irreps:
        """Sort the terms and merge equal irreps. The layout of tensors changes."""
        return self.sort().irreps.simplify()

    def filter(self, keep: _Filter = None, *, drop: _Filter = None, lmax: int | None = None) -> Irreps:
        """Select terms by one of three criteria.

        Args:
            keep: irreps to keep, or a predicate on `MulIr`.
            drop: irreps to remove, or a predicate on `MulIr`.
            lmax: highest degree to keep.

        Raises:
            ValueError: more than one criterion.
        """
        if sum(option is not None for option in (keep, drop, lmax)) > 1:
            raise ValueError("filter takes only one of keep, drop and lmax")
        if lmax is not None:
            return Irreps([mul_ir for mul_ir in self if mul_ir.ir.l <= lmax])
        if keep is not None:
            keeps = _predicate(keep)
            return Irreps([mul_ir for mul_ir in self if keeps(mul_ir)])
        if drop is not None:
            drops = _predicate(drop)
            return Irreps([mul_ir for mul_ir in self if not drops(mul_ir)])
        return self

    @property
    def slice_by_mul(self) -> _SliceByMul:
        """Index by copies of irreps instead of terms.

        >>> Irreps("3x0e + 2x1o").slice_by_mul[1:4]
        2x0e+1x1o
        """
        return _SliceByMul(self)

    def randn(
        self,
        *size: int,
        normalization: Literal["component", "norm"] = "component",
        requires_grad: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return normally distributed features.

        Args:
            size: shape of the tensor, in which -1, exactly once, stands for ``dim``.
            normalization: ``component`` (each component has unit variance) or ``norm`` (each irrep has unit norm).

        Raises:
            ValueError: ``size`` without -1 or with several, or another normalization.
        """
        from e3frame.o3 import representation

        return representation.randn(
            self, size, normalization, requires_grad, dtype=dtype, device=device, generator=generator
        )

    @overload
    def __getitem__(self, i: SupportsIndex) -> MulIr: ...
    @overload
    def __getitem__(self, i: slice) -> Irreps: ...
    def __getitem__(self, i: SupportsIndex | slice) -> MulIr | Irreps:
        return Irreps(super().__getitem__(i)) if isinstance(i, slice) else super().__getitem__(i)

    def __contains__(self, ir: object) -> bool:
        wanted = Irrep(ir)  # type: ignore[arg-type]  # which raises for anything else
        return any(own == wanted for _, own in self)

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]  # anything that irreps are made of
        return Irreps(super().__add__(Irreps(other)))

    def __mul__(self, other: SupportsIndex) -> Irreps:
        if isinstance(other, Irreps):
            raise NotImplementedError("the product of two Irreps needs a choice of paths: see o3.FullTensorProduct")
        return Irreps(super().__mul__(other))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return "+".join(map(repr, self))


def _predicate(choice: IrrepsLike | Callable[[MulIr], bool]) -> Callable[[MulIr], bool]:
    if callable(choice):
        return choice
    chosen = {ir for _, ir in Irreps(choice)}
    return lambda mul_ir: mul_ir.ir in chosen


class _SliceByMul:
    """Result of `Irreps.slice_by_mul`."""

    def __init__(self, irreps: Irreps) -> None:
        self.irreps = irreps

    def __getitem__(self, item: slice) -> Irreps:
        if not isinstance(item, slice):
            raise IndexError("slice_by_mul takes a slice")
        start, stop, step = item.indices(self.irreps.num_irreps)
        if step != 1:
            raise NotImplementedError("slice_by_mul takes no step")
        terms, first = [], 0
        for mul, ir in self.irreps:
            overlap = min(stop, first + mul) - max(start, first)
            if overlap > 0 or (mul == 0 and start <= first <= stop):
                terms.append((overlap, ir))
            first += mul
        return Irreps(terms)
