"""Errors of a target in detail: by species, by irrep, by frame, and relative to the spread of the labels (R²)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.config.targets import TargetSpec
from e3frame.evaluate.metrics import Errors, displayed
from e3frame.evaluate.residuals import Residual, in_components

_LEFT = 1e-20
"""Fraction of the sum of squared labels below which a remainder is rounding."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of one target for all frames of a split.

    Attributes:
        irreps: predictions and labels in irreps.
        unit: unit of the target.
        atoms: (frames,) number of atoms.
        rows: (frames,) number of rows: one, or the number of atoms or edges.
        kinds: (all rows,) index of each row into ``symbols``: species of its atom, or pair of species of its edge.
        symbols: names of the kinds; empty for values per graph.
        composition: (frames, species) number of atoms of each species, if the target is a sum over atoms; else None.
    """

    target: TargetSpec
    irreps: Residual
    unit: str
    atoms: Tensor
    rows: Tensor
    kinds: Tensor
    symbols: Sequence[str]
    composition: Tensor | None = None

    @property
    def shown(self) -> Residual:
        """Predictions and labels in the user's components, Cartesian if the target is."""
        return in_components(self.target, self.irreps)

    def frame_errors(self) -> Tensor:
        """(frames,) RMSE of each frame in the unit of the errors; NaN for a frame without labels."""
        errors = frame_errors(self.shown, self.rows)
        return displayed(self.unit)[0] * errors / (self.atoms if self.target.per_atom else 1)

    def detailed(self, errors: Errors) -> Errors:
        """The errors with R², the number of labelled frames, and the errors by irrep and species added."""
        factor, irreps = displayed(self.unit)[0], self.target.type.irreps
        each, frames, composition = self.irreps, len(self.atoms), self.composition
        if self.target.per_atom:
            atoms = self.atoms.unsqueeze(-1)
            each = Residual(*(x / atoms for x in (each.prediction, each.label)))
            composition = None if composition is None else composition / atoms
        labelled = int((~self.frame_errors().isnan()).sum())
        species = by_species(self.shown, self.kinds, self.symbols, factor) if self.symbols else {}
        return replace(
            errors,
            r2=r2(each, irreps, composition),
            frames=labelled if labelled < frames else None,
            by_irrep=by_irrep(self.irreps, irreps, factor),
            by_species=species,
        )


def r2(residual: Residual, irreps: Irreps, composition: Tensor | None = None) -> float | None:
    """``1 - Σ (prediction - label)² / Σ (label - c)²`` over all entries of irreps.

    1 is perfect; 0 is as good as predicting c. For irreps with a direction c is zero, since no other constant rotates
    with the molecule. For each even scalar it is the mean label; or with ``composition`` the sum ``Σ_s n_s e_s`` of
    reference energies of the elements, fitted by least squares to these labels. A model that knows only the composition
    thus gets at most 0, however large the energies of free atoms are. None if c explains all labels up to rounding.

    Args:
        composition: (rows, species) number of atoms of each species for a sum over atoms, fractions for a sum per atom.
    """
    there = residual.labelled
    labels = residual.label.where(there, 0.0)
    constant = torch.zeros_like(labels)
    regressors = torch.ones_like(labels[:, :1]) if composition is None else composition.to(labels)
    scalar = [ir.is_scalar() for mul, ir in irreps for _ in range(mul * ir.dim)]
    for column in (column for column, is_scalar in enumerate(scalar) if is_scalar):
        rows = there[:, column]
        fit = torch.linalg.lstsq(regressors[rows], labels[rows, column, None], driver="gelsd")
        constant[:, column] = (regressors @ fit.solution)[:, 0]
    spread = (labels - constant).where(there, 0.0).square().sum()
    if spread <= _LEFT * labels.square().sum():
        return None
    return float(1 - residual.difference.square().sum() / spread)


def by_irrep(residual: Residual, irreps: Irreps, factor: float) -> dict[str, dict[str, float]]:
    """MAE and RMSE of each kind of irrep, times ``factor``; empty if there is only one kind."""
    kinds: dict[str, list[slice]] = {}
    for (_, ir), where in zip(irreps, irreps.slices(), strict=True):
        kinds.setdefault(str(ir), []).append(where)
    if len(kinds) == 1:
        return {}
    found = {}
    for kind, slices in kinds.items():
        columns = torch.cat([torch.arange(irreps.dim)[where] for where in slices])
        found[kind] = _errors(Residual(residual.prediction[:, columns], residual.label[:, columns]), factor)
    return {kind: errors for kind, errors in found.items() if errors}


def by_species(
    residual: Residual, species: Tensor, symbols: Sequence[str], factor: float
) -> dict[str, dict[str, float]]:
    """MAE and RMSE of each species, times ``factor``; empty if there is only one.

    Args:
        residual: one row per atom or per edge.
        species: (rows,) index into ``symbols``; for an edge, of the pair of species of its atoms.
    """
    found = {
        symbol: _errors(Residual(residual.prediction[species == k], residual.label[species == k]), factor)
        for k, symbol in enumerate(symbols)
    }
    there = {symbol: errors for symbol, errors in found.items() if errors}
    return there if len(there) > 1 else {}


def _errors(residual: Residual, factor: float) -> dict[str, float]:
    difference = residual.difference[residual.labelled]
    if not len(difference):
        return {}
    return {
        "mae": factor * float(difference.abs().mean()),
        "rmse": factor * float(difference.square().mean().sqrt()),
    }


def frame_errors(residual: Residual, rows_per_frame: Tensor) -> Tensor:
    """(frames,) RMSE over the entries of each frame; NaN for a frame without labels.

    Args:
        rows_per_frame: (frames,) ones for a target per graph, else the number of atoms or edges.
    """
    frame = torch.repeat_interleave(torch.arange(len(rows_per_frame)), rows_per_frame)
    squares, counts = (
        torch.zeros(len(rows_per_frame), dtype=torch.float64).index_add(0, frame, x.to(torch.float64).sum(1))
        for x in (residual.difference.square(), residual.labelled)
    )
    return (squares / counts).sqrt()
