r"""Checks forces against energies and positions: sign, units, and whether they belong together.

Between similar frames, the work of the forces is the difference of the energies
(:mod:`~e3frame.preflight.differences`). If no two frames are similar, a pair potential is fitted to the forces, which
determines its energies up to a constant per composition, and the energies of the file are compared with these. Either
way the slope is 1; it is -1 if the file has gradients instead of forces, and the ratio of two units if energies and
forces are in different ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.differences import differences
from e3frame.preflight.findings import Finding, Level
from e3frame.preflight.pair_potential import PairFit, PairPotential, Trial, doubt, thinned, trials
from e3frame.preflight.trend import GROSS, MIN_FRAMES, SLIGHT, Trend, summary, trend
from e3frame.spec.units import ENERGY, LENGTH

LEAST_EXPLAINED = 0.1
"""Smallest fraction of the force variance that a pair potential explains in valid data, except relaxed structures."""
PLAIN = 0.3
"""Smallest fraction that the fit must explain for every synthetic potential before it counts against the file."""
RELAXED = 0.3
"""Root mean square force in eV/Å below which the frames may be relaxed structures."""
SURE = 0.7
"""Correlation above which the sign is certain."""
FINE = (0.15, 1.5)
"""Tolerance of a slope of differences, see ``Trend.crude``: 16 % at a perfect correlation."""


def check_gradient(graphs: Sequence[Graph], energy: str = "energy", forces: str = "forces") -> Finding:
    """Check whether the forces are the negative gradients of the energies."""
    check = f"{forces} against {energy}"
    graphs = labelled(graphs, energy, forces)
    found, fitted = _by_differences(graphs, energy, forces), None
    unrelated = found is not None and not found.is_significant
    if found is None or unrelated:
        fitted = _by_pairs(graphs, energy, forces)
        found = fitted if fitted is not None and fitted.is_significant else found or fitted
    if found is None:
        return Finding(check, "note", "too few frames to compare them")
    if found.is_significant:
        return _judged(check, found, _mean_size(graphs), energy, forces)
    if unrelated and abs(found.correlation) < 0.3:
        text = f"between similar frames, the {energy} does not change as the {forces} predict{summary(found)}"
        return Finding(check, "warning", text, "check that both are from the same calculation and in the same order")
    return Finding(check, "note", f"these frames do not show sign and units{summary(found)}")


def check_belonging(graphs: Sequence[Graph], forces: str = "forces", sampled: bool = False) -> Finding | None:
    """Check whether the forces are related to the positions at all; None if the frames do not show it.

    Args:
        sampled: whether the forces may be noisy, as in coarse graining, where there are no energies.
    """
    fitted = fitted_pairs(labelled(graphs, forces), forces)
    model = fitted.model
    if model is None or model.explained is None:
        return None
    check = f"{forces} against positions"
    text = f"a pair potential explains {max(model.explained, 0):.0%} of the {forces}"
    if model.explained > LEAST_EXPLAINED:
        return Finding(check, "ok", text)
    least = min((trial.fitted.explained or 0.0 for trial in fitted.trials()), default=0.0)
    if least < PLAIN:
        return Finding(check, "note", f"these frames do not show whether they fit the positions: {text}")
    size = np.sqrt(np.mean([float(graph[forces].square().mean()) for graph in graphs]))
    level: Level = "error" if size > RELAXED and not sampled else "warning"
    hint = "check that they have the same atom order, frame order and axes as the positions"
    return Finding(check, level, f"the {forces} do not fit the positions: {text}, as in shuffled data", hint)


def labelled(graphs: Sequence[Graph], *keys: str) -> list[Graph]:
    """Return the graphs that have all the labels."""
    return [g for g in graphs if all(key in g and bool(g[key].isfinite().all()) for key in keys)]


class Fitted(NamedTuple):
    """Some of the frames, and the pair potential of their forces; None if there are too few."""

    graphs: list[Graph]
    fit: PairFit | None = None
    model: PairPotential | None = None

    def trials(self) -> list[Trial]:
        """Return the same fit to synthetic potentials."""
        return [] if self.fit is None else trials(self.fit)


def fitted_pairs(graphs: Sequence[Graph], forces: str) -> Fitted:
    """Fit a pair potential to the forces of as many frames as it needs."""
    chosen = thinned([graph for graph in graphs if graph.edge_index.shape[1]])
    if len(chosen) < MIN_FRAMES:
        return Fitted(chosen)
    fit = PairFit(chosen)
    return Fitted(chosen, fit, fit(np.concatenate([graph[forces].numpy() for graph in chosen])))


def _by_differences(graphs: Sequence[Graph], energy: str, forces: str) -> Trend | None:
    found = differences(graphs, energy, forces)
    if found is None:
        return None
    # Changes of the cell do work, too: the part that a mean stress explains is fitted and removed.
    strain = found.strain.reshape(len(found.strain), 9)[:, [0, 4, 8, 5, 2, 1]]
    return trend(found.energy, found.by_forces, strain[:, np.abs(strain).max(0) > 1e-6], FINE)


def _by_pairs(graphs: Sequence[Graph], energy: str, forces: str) -> Trend | None:
    fitted = fitted_pairs(graphs, forces)
    if fitted.model is None:
        return None
    nuisance = _nuisance(fitted.graphs)
    found = trend(np.array([float(graph[energy]) for graph in fitted.graphs]), fitted.model.energy, nuisance)
    if found is None or not found.is_significant or (found.is_about(1.0) and found.slope > 0):
        return found
    return found.against(doubt(fitted.trials(), lambda right, model: trend(right.energy, model.energy, nuisance)))


def _judged(check: str, found: Trend, atoms: float, energy: str, forces: str) -> Finding:
    size = abs(found.slope)
    if found.is_about(1.0):
        if found.slope > 0:
            return Finding(check, "ok", f"the {forces} are the negative gradient{summary(found)}")
        text = f"the {forces} are the gradient of the {energy}, not its negative{summary(found)}"
        level: Level = "error" if abs(found.correlation) > SURE else "warning"
        return Finding(check, level, text, f"flip the sign of the {forces} in the file (multiply by -1)")
    names = _named(found, atoms)
    if found.slope > 0 and not names and abs(np.log(size)) < SLIGHT:
        text = f"the sign is right, but the size is off by a factor of {size:.3g}{summary(found)}"
        return Finding(check, "note", text)
    text = f"the {forces} do not fit the {energy}: they differ by a factor of {size:.3g}{summary(found)}"
    if found.slope < 0:
        text += "; their sign is inverted, too"
    # A small factor, or one that matches no unit, may be an error of the estimate, not of the file.
    level = "error" if names and abs(np.log(size)) > GROSS else "warning"
    return Finding(check, level, text, f"it looks as if {', or '.join(names)}" if names else "check data.units")


def _mean_size(graphs: Sequence[Graph]) -> float:
    return float(np.exp(np.mean([np.log(graph.num_nodes) for graph in graphs])))


def _nuisance(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return composition and, for crystals, volume (frames, k): a pair potential fitted to forces misses the energy
    that depends on these."""
    numbers = np.unique(np.concatenate([graph.z.numpy() for graph in graphs]))
    columns = np.stack([(graph.z.numpy()[:, None] == numbers).sum(0) for graph in graphs]).astype(np.float64)
    if not any(bool(graph.pbc.all()) for graph in graphs):
        return columns
    volumes = np.array([float(g.cell[0].det().abs()) if bool(g.pbc.all()) else 0.0 for g in graphs])
    return np.column_stack([columns, volumes, np.square(volumes) / max(volumes.max(), 1.0)])


def _named(found: Trend, atoms: float) -> list[str]:
    """Return the two most likely mistakes in units that give this slope of the energies on the forces."""
    energies = {name: ENERGY[name] for name in ("eV", "Hartree", "kcal/mol", "kJ/mol")}
    factors = {
        f"energies are in {one} and forces in {other}/Å": energies[other] / energies[one]
        for one in energies
        for other in energies
        if one != other
    }
    atomic = ENERGY["Hartree"] / LENGTH["bohr"]
    factors |= {f"energies are in {name} and forces in Hartree/bohr": atomic / eV for name, eV in energies.items()}
    factors |= {"energies are in eV and forces in meV/Å": 1e-3, "energies are in meV and forces in eV/Å": 1e3}
    factors |= {f"forces are per {name}, positions in Å": 1 / LENGTH[name] for name in ("bohr", "nm")}
    factors |= {"positions are in bohr, forces per Å": LENGTH["bohr"]}
    factors |= {"energies are per atom, not of the whole frame": 1 / atoms}
    nearest = sorted(factors, key=lambda name: found.distance(factors[name]))[:2]
    return [name for name in nearest if found.is_about(factors[name])]
