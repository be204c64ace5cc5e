r"""Check whether a vector or a matrix rotates with its molecule. One that was computed in another orientation does not.

A linear fit of the label by directions of neighbours, to half of the frames, is compared with the other half. A label
that rotates has something in common with it; one that does not has nothing. How much to expect depends on the frames,
as small cells of high symmetry may hide everything. So tensors are made up that rotate with the same frames, of pairs
and of triples, of long and of short range; only if each of them is recognised is anything said against the label.
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
from e3frame.preflight.pair_model import pair_types, thinned

MIN_FRAMES = 60
SEEN, UNSEEN = 5.0, 3.0
"""Standard errors of the agreement above which a label rotates with its frame, and below which it seems not to."""
PLAIN = 0.6
"""Agreement that each of the made-up tensors must have before anything is said against a label."""
ISOTROPIC = 1e-6
"""Anisotropic part of a matrix, below which it has no direction."""
WEAK = 0.2
"""Times the median size of a label: frames with a smaller one count less."""


class Agreement(NamedTuple):
    """Agreement of a fit to one half of the frames with the labels of the other half.

    Attributes:
        cosine: mean over the frames of the cosine between fit and label: 0 where they have nothing to do with each
            other, 1 where they have the same directions.
        errors: the same, in standard errors of random orientations.
    """

    cosine: float
    errors: float

    @property
    def explained(self) -> float:
        """Part of the variance that the directions have in common."""
        return max(self.cosine, 0.0) ** 2


def check_frame(graphs: Sequence[Graph], name: str) -> Finding | None:
    """Whether the label ``name``, (3,) or (3, 3) per graph, rotates with the frames; None where there are too few."""
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
        return Finding(name, "note", "it is isotropic in all frames, so there is no direction to check")
    around = Surroundings(chosen, labels.dim() - 1)
    features = around.features()
    found = agreement(features, labels)
    said = f"directions of bonds explain {found.explained:.0%} of its variance"
    if found.errors > SEEN:
        return Finding(name, "ok", f"it rotates with the molecule ({said})")
    others = [agreement(features, other) for other in around.made_up()]
    if found.errors > UNSEEN or not others or min(other.cosine for other in others) < PLAIN:
        text = f"these frames do not show whether it rotates with the molecule: {said}"
        return Finding(name, "note", text)
    if labels.dim() == 3 and not around.periodic:
        text = f"it does not rotate with the molecule: {said}"
        return Finding(name, "error", text, "was it computed in a different orientation from the positions?")
    hint = "do positions and label belong to the same frame?"
    return Finding(name, "warning", f"it may not rotate with the molecule: {said}", hint)


def traceless(matrices: Tensor) -> Tensor:
    """(..., 3, 3) without the part that is the same in all directions."""
    mean = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)
    return matrices - mean[..., None, None] * torch.eye(3, dtype=matrices.dtype)


def agreement(features: Tensor, labels: Tensor) -> Agreement:
    """How far a linear fit of ``labels`` (frames, 3, ...) by ``features`` (frames, 3, ..., k) holds in other frames."""
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
    """Ridge regression, its strength chosen by generalized cross-validation (Golub, Heath, Wahba 1979)."""
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
"""Ranges of distance."""
MAX_FEATURES = 150
"""More pairs of elements are taken together."""


class Surroundings:
    """The neighbours in some frames.

    Args:
        graphs: the frames, of which each has edges.
        rank: 1 for vectors, 2 for symmetric matrices without trace.
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
        """(frames, 3, ..., k): those that a label is fitted by."""
        pair, types = pair_types(self.z[self.source], self.z[self.target])
        if types * WIDTHS > MAX_FEATURES:
            pair, types = torch.zeros_like(pair), 1
        weights = self._ranges()
        of_edges = self._tensors(self._antisymmetric() if self.rank == 1 else torch.ones_like(self.r))
        pairs = [self._per_frame(of_edges * w.view(-1, *[1] * self.rank), pair, types) for w in weights.T]
        triples = [self._triples(w) for w in weights.T[::2]]
        shape = self.place if self.rank == 1 else traceless(self.place[:, :, None] * self.place[:, None, :])
        return torch.cat([*pairs, *triples, self._by_element(shape)], -1)

    def made_up(self) -> Iterator[Tensor]:
        """(frames, 3, ...): tensors that rotate with the frames, each of another kind."""
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
        """(edges, WIDTHS): smooth bumps over the distances that there are, narrower where they are short."""
        low, high = float(self.r.min()), float(self.r.max()) + 1e-6
        x = (torch.log(self.r) - np.log(low)) / max(np.log(high / low), 1e-6)
        centers = torch.linspace(0, 1, WIDTHS, dtype=self.r.dtype)
        cut = torch.cos(torch.pi * self.r / (2 * high)) ** 2
        return cut[:, None] * torch.exp(-(((x[:, None] - centers) * WIDTHS) ** 2))

    def _triples(self, weight: Tensor) -> Tensor:
        """(frames, 3, ..., elements): of the pull that each atom's neighbours have on it, by its element."""
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
        """(edges,) from the lighter to the heavier element, or both directions of an edge would cancel."""
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
