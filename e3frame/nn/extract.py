"""Parts of a direct sum of irreps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irrep, IrrepLike, Irreps, IrrepsLike

__all__ = ["Extract", "ExtractIr"]


class Extract(nn.Module):
    """y_k = ⊕_{i in instructions[k]} x_i for the terms x_i of the input: one output for each instruction.

    Args:
        irreps_in: irreps of the input.
        irreps_outs: irreps of each output.
        instructions: for each output, the positions in ``irreps_in`` of its terms.
        squeeze_out: return a single output as a tensor, not as a tuple.

    Raises:
        AssertedError: instructions that do not fit the irreps.

    >>> extract = Extract("1e + 0e + 0e", ["0e", "0e"], [(1,), (2,)])
    >>> extract(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0]))
    (tensor([1.]), tensor([2.]))
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_outs: Iterable[IrrepsLike],
        instructions: Sequence[Sequence[int]],
        squeeze_out: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_outs = tuple(Irreps(irreps) for irreps in irreps_outs)
        self.instructions = instructions
        self.squeeze_out = squeeze_out
        if len(self.irreps_outs) != len(instructions):
            raise AssertedError(
                f"each of {len(self.irreps_outs)} outputs needs an instruction, got {len(instructions)} instructions"
            )
        for n, (irreps_out, terms) in enumerate(zip(self.irreps_outs, instructions, strict=True)):
            self._check(n, irreps_out, terms)
        where = self.irreps_in.slices()
        self._pieces = [_merge([where[i] for i in terms]) for terms in instructions]

    def _check(self, n: int, irreps_out: Irreps, terms: Sequence[int]) -> None:
        if not all(0 <= i < len(self.irreps_in) for i in terms):
            raise AssertedError(
                f"instruction {n}: {tuple(terms)} is outside {self.irreps_in}, which has {len(self.irreps_in)} terms"
            )
        found = Irreps([self.irreps_in[i] for i in terms])
        if found != irreps_out:
            raise AssertedError(
                f"instruction {n}: the terms {tuple(terms)} of {self.irreps_in} are {found}, not {irreps_out}"
            )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(..., irreps_in.dim) -> a tuple of (..., irreps_outs[k].dim), or its only tensor with ``squeeze_out``."""
        if x.shape[-1] != self.irreps_in.dim:
            raise AssertedError(f"the last axis must be {self.irreps_in.dim} ({self.irreps_in}), got {x.shape[-1]}")
        # Copies: an in-place operation on a view would change the input.
        outs = tuple(torch.cat([x[..., :0], *(x[..., piece] for piece in pieces)], dim=-1) for pieces in self._pieces)
        return outs[0] if self.squeeze_out and len(outs) == 1 else outs

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {', '.join(map(str, self.irreps_outs))}"


class ExtractIr(Extract):
    """All copies of one irrep.

    Args:
        irreps_in: irreps of the input.
        ir: the irrep to extract.

    >>> ExtractIr("2x1o + 3x0e + 1o", "1o").irreps_out
    2x1o+1x1o
    """

    def __init__(self, irreps_in: IrrepsLike, ir: IrrepLike) -> None:
        irreps_in, ir = Irreps(irreps_in), Irrep(ir)
        terms = tuple(i for i, mul_ir in enumerate(irreps_in) if mul_ir.ir == ir)
        irreps_out = Irreps([irreps_in[i] for i in terms])
        super().__init__(irreps_in, [irreps_out], [terms], squeeze_out=True)
        self.irreps_out = irreps_out


def _merge(slices: list[slice]) -> list[slice]:
    """Join slices that follow each other."""
    merged: list[slice] = []
    for piece in slices:
        if merged and merged[-1].stop == piece.start:
            merged[-1] = slice(merged[-1].start, piece.stop)
        else:
            merged.append(piece)
    return merged
