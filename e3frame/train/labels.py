"""Which frames have which labels, and whether a Cartesian label has the symmetry that the target says."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from e3frame.data.dataset import GraphDataset, Splits
from e3frame.data.edges import beyond_key
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.errors import DataError, UserError
from e3frame.train.targets import TargetSpec, TaskSpec

TOLERANCE = 1e-3
"""Largest part of a Cartesian label without the symmetry, relative to the largest label: files hold few digits."""


def rows_per_frame(dataset: GraphDataset, per: str) -> Tensor:
    """(frames,) how many values each frame has of what there is per graph, node or edge."""
    if per == "graph":
        return torch.ones(len(dataset), dtype=torch.long)
    return dataset.counts({"node": "z", "edge": "edge_index"}[per])


def labelled(dataset: GraphDataset, key: str, per: str) -> Tensor:
    """(frames,) whether a frame has any value of the label ``key``; where it has none, the data hold NaN."""
    rows = dataset.stacked(key)
    there = (~rows.reshape(len(rows), -1).isnan()).any(1)
    if per == "graph":
        return there
    sizes = rows_per_frame(dataset, per)
    frame = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    return torch.zeros(len(sizes), dtype=torch.long).index_add(0, frame, there.long()) > 0


def require_labels(splits: Splits, task: TaskSpec, monitors: tuple[str, ...] = ()) -> None:
    """Every target that is trained has labels to be trained on, and every error that is monitored can be computed.

    Args:
        monitors: metrics that decide on checkpoints or learning rates, such as ``val_stress_mae``.

    Raises:
        DataError, UserError: the first target without, or a label that lacks its symmetry.
    """
    for name, target in task.targets.items():
        key = task.key(name)
        if target.trained and not labelled(splits.train, key, target.label.per).any():
            file = ", ".join(splits.train.files)
            beyond = _beyond(splits.train, key)
            hint = f"the {beyond:,} pairs that have one are all beyond r_max" if beyond else None
            raise DataError(f"no training frame has the label '{key}' of the target {name}", file=file, hint=hint)
        for _, dataset in splits.items():
            _require_symmetry(dataset, name, key, target)
            if target.derive == "strain_gradient":
                _require_volume(dataset, key)
    if splits.val is not None:
        _require_monitored(splits.val, task, monitors)


def _require_monitored(val: GraphDataset, task: TaskSpec, monitors: tuple[str, ...]) -> None:
    there = {name for name, t in task.targets.items() if labelled(val, task.key(name), t.label.per).any()}
    if not any(task.targets[name].last_weight > 0 for name in there):
        wanted = ", ".join(task.key(name) for name, target in task.targets.items() if target.last_weight > 0)
        raise UserError(f"no validation frame has a label to tell the best checkpoint by\n  labels wanted: {wanted}")
    for name in task.targets.keys() - there:
        for monitor in monitors:
            if monitor in (f"val_{name}_mae", f"val_{name}_rmse"):
                problem = f"{monitor} is monitored, but no validation frame has the label '{task.key(name)}'"
                raise UserError(f"{problem}\n  monitor val_loss")


def require_inputs(dataset: GraphDataset, inputs: Collection[str]) -> None:
    """Raises DataError for the first frame without a value that the model reads: what it gave would be NaN."""
    for name in inputs:
        lacking = (~labelled(dataset, name, "graph")).nonzero().flatten()
        if len(lacking):
            file, frame = dataset.where(int(lacking[0]))
            hint = "a label may be missing, what the model reads may not"
            raise DataError(f"the frame has no {name}, which the model reads", file=file, frame=frame, hint=hint)


def missing_labels(splits: Splits, task: TaskSpec) -> Iterator[str]:
    """What is said aloud: ``stress in 120 of 400 train frames``, for each label that some frames lack."""
    for name, target in task.targets.items():
        key = task.key(name)
        for split, dataset in splits.items():
            there = labelled(dataset, key, target.label.per)
            if not there.all():
                yield f"{key} in {int(there.sum())} of {len(there)} {split} frames"
            if target.label.per == "edge":
                yield from _missing_edges(dataset, key, split)


def _missing_edges(dataset: GraphDataset, key: str, split: str) -> Iterator[str]:
    rows = dataset.stacked(key)
    there = int((~rows.reshape(len(rows), -1).isnan()).any(1).sum())
    if there < len(rows):
        yield f"{key} on {there:,} of {len(rows):,} {split} edges"
    if beyond := _beyond(dataset, key):
        yield f"{key} of {beyond:,} {split} pairs beyond r_max, left out"


def _beyond(dataset: GraphDataset, key: str) -> int:
    """How many of the pairs that have a label are no edges."""
    return int(dataset.stacked(beyond_key(key)).sum()) if dataset.has(beyond_key(key)) else 0


def _require_volume(dataset: GraphDataset, key: str) -> None:
    bad = (labelled(dataset, key, "graph") & (torch.linalg.det(dataset.stacked("cell")) == 0)).nonzero().flatten()
    if len(bad):
        file, frame = dataset.where(int(bad[0]))
        hint = "a stress is a derivative per volume: leave the label of molecules out"
        raise DataError(f"the frame has a {key}, but its cell has no volume", file=file, frame=frame, hint=hint)


def _require_symmetry(dataset: GraphDataset, name: str, key: str, target: TargetSpec) -> None:
    """A part of a label that the target cannot express would be lost without a word."""
    if target.formula is None:
        return
    cartesian = CartesianTensor(target.formula)
    rows = dataset.stacked(key).to(torch.float64)
    rest = (rows - cartesian.to_cartesian(cartesian.from_cartesian(rows))).reshape(len(rows), -1).abs().amax(1)
    bad = (rest > TOLERANCE * rows.nan_to_num().abs().max()).nonzero().flatten()
    if not len(bad):
        return
    row = int(bad[0])
    index = int(torch.searchsorted(rows_per_frame(dataset, target.label.per).cumsum(0), row, right=True))
    file, frame = dataset.where(index)
    wanted = f"the target {name} ({target.formula})"
    hint = "write the symmetry it has, such as cartesian: ij for none, or mend the order of the components"
    raise DataError(
        f"{key} does not have the symmetry of {wanted}: {rows[row].tolist()}", file=file, frame=frame, hint=hint
    )
