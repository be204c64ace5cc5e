r"""Checks that vectors and matrices rotate with the molecule; those computed in another orientation do not.

The label is fitted linearly by directions of neighbours in half of the frames, and the fit is compared with the other
half. It agrees with a label that rotates, and is unrelated to one that does not. How well it agrees depends on the
frames: small cells of high symmetry may hide everything. So the same fit is tried on synthetic tensors that rotate with
the frames, of pairs and triples, of long and short range; only if it recognizes all of them can a label be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.findings import Finding
from e3frame.preflight.pair_potential import pair_types, thinned

MIN_FRAMES = 60
SEEN, UNSEEN = 5.0, 3.0
"""Standard errors of the agreement above which a label rotates with its frame, and below which it may not."""
PLAIN = 0.6
"""Smallest agreement for every synthetic tensor before a label can be wrong."""
ISOTROPIC = 1e-6
"""Relative size of the anisotropic part of a matrix below which it has no direction."""
WEAK = 0.2
"""Fraction of the median size of a label; frames with a smaller label count less."""


class Agreement(NamedTuple):
    """Agreement of a fit to one half of the frames with the labels of the other half.

    Attributes:
        cosine: mean over the frames of the cosine between fit and label: 0 if they are unrelated, 1 if they have the
            same direction.
        errors: the same, in standard errors for random orientations.
    """

    cosine: float
    errors: float

    @property
    def explained(self) -> float:
        """Fraction of the variance of the label that the fit explains."""
        return max(self.cosine, 0.0) ** 2


def check_frame(graphs: Sequence[Graph], name: str) -> Finding | None:
    """Check that the label ``name``, (3,) or (3, 3) per graph, rotates with the frames; None if there are too few."""
    chosen = [g for g in thinned(graphs) if g.edge_index.shape[1] and bool(g[name].isfinite().all())]
    if len(chosen) < MIN_FRAMES:
        return None
    labels = torch.cat([graph[name] for graph in chosen])
    if labels.dim() == 3:
        size = float(labels.square().mean().sqrt())
        labels = traceless((labels + labels.mT) / 2)
    else:
        size = 0.0
    if float(labels.square().mean().sqrt()) <= ISOTROPIC * size:
        return Finding(name, "note", "it is isotropic in all frames: rotation cannot be checked")
    around = Surroundings(chosen, labels.dim() - 1)
    features = around.features()
    found = agreement(features, labels)
    fit = f"directions of bonds explain {found.explained:.0%} of its variance"
    if found.errors > SEEN:
        return Finding(name, "ok", f"it rotates with the molecule ({fit})")
    others = [agreement(features, other) for other in around.synthetic()]
    if found.errors > UNSEEN or not others or min(other.cosine for other in others) < PLAIN:
        text = f"these frames do not show whether it rotates with the molecule: {fit}"
        return Finding(name, "note", text)
    if labels.dim() == 3 and not around.periodic:
        text = f"it does not rotate with the molecule: {fit}"
        return Finding(name, "error", text, "it may have been computed in another orientation than the positions")
    hint = "check that positions and label belong to the same frame"
    return Finding(name, "warning", f"it may not rotate with the molecule: {fit}", hint)


def traceless(matrices: Tensor) -> Tensor:
    """Return ``matrices`` (..., 3, 3) without their isotropic part."""
    mean = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)
    return matrices - mean[..., None, None] * torch.eye(3, dtype=matrices.dtype)


def agreement(features: Tensor, labels: Tensor) -> Agreement:
    """Return how well a linear fit of ``labels`` (frames, 3, ...) by ``features`` (frames, 3, ..., k) agrees with
    frames that it was not fitted to."""
    y, x = labels.flatten(1).numpy(), features.flatten(1, -2).numpy()
    size = np.linalg.norm(y, axis=1)
    weight = 1 / np.maximum(size, max(WEAK * float(np.median(size)), 1e-12 * float(size.max()), 1e-300))
    x, y = x * weight[:, None, None], y * weight[:, None]
    scale = np.sqrt(np.square(x).mean((0, 1)))
    used = scale > 1e-9 * scale.max(initial=1e-300)
    x = x[..., used] / scale[used]
    if not x.shape[-1]:
        return Agreement(0.0, 0.0)
    guess = np.concatenate([_guess(x[half::2], y[half::2], x[1 - half :: 2]) for half in (0, 1)])
    held = np.concatenate([y[1 - half :: 2] for half in (0, 1)])
    norms = np.linalg.norm(guess, axis=1) * np.linalg.norm(held, axis=1)
    cosine = (guess * held).sum(1)[norms > 0] / norms[norms > 0]
    if not len(cosine):
        return Agreement(0.0, 0.0)
    components = 3 if labels.dim() == 2 else 5
    mean = float(cosine.mean())
    return Agreement(mean, mean * float(np.sqrt(components * len(cosine))))


def _guess(x: NDArray[np.float64], y: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predict by ridge regression; generalized cross-validation (Golub, Heath, Wahba 1979) chooses its strength."""
    rows, target = x.reshape(-1, x.shape[-1]), y.reshape(-1)
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    c, best, solution = u.T @ target, np.inf, np.zeros(rows.shape[1])
    for strength in s.max() ** 2 * np.logspace(-8, 1, 12):
        shrunk = s**2 / (s**2 + strength)
        left = target @ target - (c**2 * (2 * shrunk - shrunk**2)).sum()
        score = left / (1 - min(shrunk.sum() / len(target), 0.999)) ** 2
        if score < best:
            best, solution = score, vt.T @ (shrunk * c / np.where(s > 0, s, 1.0))
    return there @ solution


WIDTHS = 6
"""Number of ranges of distance."""
MAX_FEATURES = 150
"""Number of features above which all pairs of elements share their features."""


class Surroundings:
    """Vectors and matrices that rotate with a frame: sums over neighbours and triples, and the shape of molecules.

    Args:
        graphs: frames that all have edges.
        rank: 1 for vectors, 2 for symmetric traceless matrices.
    """

    def __init__(self, graphs: Sequence[Graph], rank: int) -> None:
        self.rank, self.frames = rank, len(graphs)
        atoms = torch.tensor([graph.num_nodes for graph in graphs])
        edges = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
        first = torch.repeat_interleave(atoms.cumsum(0) - atoms, edges)
        self.source, self.target = torch.cat([graph.edge_index for graph in graphs], 1) + first
        self.z, pos = torch.cat([graph.z for graph in graphs]), torch.cat([graph.pos for graph in graphs])
        self.frame = torch.repeat_interleave(torch.arange(len(graphs)), atoms)
        vectors = pos[self.source] + torch.cat([graph.edge_shift for graph in graphs]) - pos[self.target]
        self.r = vectors.norm(dim=1)
        self.direction = vectors / self.r[:, None]
        self.periodic = bool(torch.cat([graph.pbc for graph in graphs]).any())
        center = torch.stack([graph.pos.mean(0) for graph in graphs])[self.frame]
        finite = ~torch.cat([graph.pbc for graph in graphs]).any(1)[self.frame]
        self.place = (pos - center) * finite[:, None]
        _, self.kind = self.z.unique(return_inverse=True)
        self.kinds = int(self.kind.max()) + 1

    def features(self) -> Tensor:
        """Return the features to fit a label with, (frames, 3, ..., k)."""
        pair, types = pair_types(self.z[self.source], self.z[self.target])
        if types * WIDTHS > MAX_FEATURES:
            pair, types = torch.zeros_like(pair), 1
        weights = self._ranges()
        of_edges = self._tensors(self._antisymmetric() if self.rank == 1 else torch.ones_like(self.r))
        pairs = [self._per_frame(of_edges * w.view(-1, *[1] * self.rank), pair, types) for w in weights.T]
        triples = [self._triples(w) for w in weights.T[::2]]
        shape = self.place if self.rank == 1 else traceless(self.place[:, :, None] * self.place[:, None, :])
        return torch.cat([*pairs, *triples, self._by_element(shape)], -1)

    def synthetic(self) -> Iterator[Tensor]:
        """Yield different synthetic tensors that rotate with the frames, (frames, 3, ...)."""
        random = np.random.default_rng(0)
        table = torch.from_numpy(random.uniform(0.5, 1.5, (self.kinds, self.kinds)))
        table = table[self.kind[self.source], self.kind[self.target]]
        end = float(self.r.max())
        smooth = torch.cos(torch.pi * self.r / (2 * end)) ** 2
        near = torch.exp(-2 * (self.r - self.r.min()))
        far = smooth * (self.r / end) ** 2
        sign = self._antisymmetric() if self.rank == 1 else torch.ones_like(self.r)
        crowd = self._at_atoms(smooth)
        if bool(sign.any()):
            for weight in (near * table, far * table, near * (crowd[self.source] + crowd[self.target])):
                yield self._sum(self._tensors(sign * weight))
        pull = self._at_atoms(self.direction * (smooth * table)[:, None])
        inner = near * table
        inner = self._at_atoms(
            inner[:, None, None] * traceless(self.direction[:, :, None] * self.direction[:, None, :])
        )
        if self.rank == 1:
            yield self._frame_sum(pull * crowd[:, None])
            yield self._frame_sum((inner @ pull[:, :, None])[..., 0])
            yield self._frame_sum(self._at_atoms(self.direction * (near * crowd[self.source] ** 2)[:, None]))
            return
        yield self._frame_sum(traceless(pull[:, :, None] * pull[:, None, :]))
        yield self._frame_sum(traceless(inner @ inner))

    def _ranges(self) -> Tensor:
        """Return smooth bumps over the range of distances, (edges, WIDTHS), narrower at short distances."""
        low, high = float(self.r.min()), float(self.r.max()) + 1e-6
        x = (torch.log(self.r) - np.log(low)) / max(np.log(high / low), 1e-6)
        centers = torch.linspace(0, 1, WIDTHS, dtype=self.r.dtype)
        cut = torch.cos(torch.pi * self.r / (2 * high)) ** 2
        return cut[:, None] * torch.exp(-(((x[:, None] - centers) * WIDTHS) ** 2))

    def _triples(self, weight: Tensor) -> Tensor:
        """Return products of each atom's sum over its neighbours, added up by element, (frames, 3, ..., elements)."""
        pull = self._at_atoms(self.direction * weight[:, None])
        if self.rank == 1:
            tensors = pull * self._at_atoms(weight)[:, None]
        else:
            tensors = traceless(pull[:, :, None] * pull[:, None, :])
        return self._by_element(tensors)

    def _by_element(self, tensors: Tensor) -> Tensor:
        owner = self.frame * self.kinds + self.kind
        summed = tensors.new_zeros(self.frames * self.kinds, *tensors.shape[1:]).index_add_(0, owner, tensors)
        return summed.unflatten(0, (self.frames, self.kinds)).movedim(1, -1)

    def _antisymmetric(self) -> Tensor:
        """Return the sign that turns the vector of each edge to the heavier element, (edges,): without it, the two
        directions of an edge cancel."""
        return torch.sign(self.z[self.source] - self.z[self.target]).to(self.r)

    def _tensors(self, weight: Tensor) -> Tensor:
        d = self.direction
        if self.rank == 1:
            return weight[:, None] * d
        return weight[:, None, None] * (d[:, :, None] * d[:, None, :] - torch.eye(3, dtype=d.dtype) / 3)

    def _per_frame(self, tensors: Tensor, pair: Tensor, types: int) -> Tensor:
        owner = self.frame[self.target] * types + pair
        summed = tensors.new_zeros(self.frames * types, *tensors.shape[1:]).index_add_(0, owner, tensors)
        return summed.unflatten(0, (self.frames, types)).movedim(1, -1)

    def _sum(self, tensors: Tensor) -> Tensor:
        return tensors.new_zeros(self.frames, *tensors.shape[1:]).index_add_(0, self.frame[self.target], tensors)

    def _frame_sum(self, tensors: Tensor) -> Tensor:
        return tensors.new_zeros(self.frames, *tensors.shape[1:]).index_add_(0, self.frame, tensors)

    def _at_atoms(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.z), *values.shape[1:]).index_add_(0, self.target, values)
