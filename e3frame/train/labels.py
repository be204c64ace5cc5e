"""Which frames have which labels, and whether a Cartesian label has the symmetry that the target says."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from e3frame.data.dataset import Splits
from e3frame.data.edges import beyond_key
from e3frame.data.frameset import FrameSet
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.errors import DataError, UserError
from e3frame.train.targets import TargetSpec, TaskSpec

TOLERANCE = 1e-3
"""Largest part of a Cartesian label without the symmetry, relative to the largest label: files hold few digits."""


def _rows(dataset: FrameSet, key: str, per: str) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Block by block, the values of a label, the frame, counted in the block, that each is of, and how many it has."""
    edges, first = dataset.counts("edge_index") if per == "edge" else None, 0
    for block in dataset.blocks(key):
        frames = len(block.atoms)
        sizes = torch.ones(frames, dtype=torch.long) if per == "graph" else block.atoms
        sizes = sizes if edges is None else edges[first : first + frames]
        yield block.values[key], torch.repeat_interleave(torch.arange(frames), sizes), frames
        first += frames


def _known(rows: Tensor) -> Tensor:
    """(rows,) which of them have a value. There may be none, as of edges between lone atoms."""
    return (~rows.isnan()).unsqueeze(-1).flatten(1).any(1)


def labelled(dataset: FrameSet, key: str, per: str) -> Tensor:
    """(frames,) whether a frame has any value of the label ``key``; where it has none, the data hold NaN."""
    found = []
    for rows, frame, frames in _rows(dataset, key, per):
        there = _known(rows)
        found.append(torch.zeros(frames, dtype=torch.long).index_add(0, frame, there.long()) > 0)
    return torch.cat(found)


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


def _require_monitored(val: FrameSet, task: TaskSpec, monitors: tuple[str, ...]) -> None:
    there = {name for name, t in task.targets.items() if labelled(val, task.key(name), t.label.per).any()}
    if not any(task.targets[name].last_weight > 0 for name in there):
        wanted = ", ".join(task.key(name) for name, target in task.targets.items() if target.last_weight > 0)
        raise UserError(f"no validation frame has a label to tell the best checkpoint by\n  labels wanted: {wanted}")
    for name in task.targets.keys() - there:
        for monitor in monitors:
            if monitor in (f"val_{name}_mae", f"val_{name}_rmse"):
                problem = f"{monitor} is monitored, but no validation frame has the label '{task.key(name)}'"
                raise UserError(f"{problem}\n  monitor val_loss")


def require_inputs(dataset: FrameSet, inputs: Collection[str]) -> None:
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
                yield f"{key} in {int(there.sum()):,} of {len(there):,} {split} frames"
            if target.label.per == "edge":
                yield from _missing_edges(dataset, key, split)


def _missing_edges(dataset: FrameSet, key: str, split: str) -> Iterator[str]:
    there = total = 0
    for block in dataset.blocks(key):
        rows = block.values[key]
        there += int(_known(rows).sum())
        total += len(rows)
    if there < total:
        yield f"{key} on {there:,} of {total:,} {split} edges"
    if beyond := _beyond(dataset, key):
        yield f"{key} of {beyond:,} {split} pairs beyond r_max, left out"


def _beyond(dataset: FrameSet, key: str) -> int:
    """How many of the pairs that have a label are no edges."""
    beyond = beyond_key(key)
    return sum(int(block.values[beyond].sum()) for block in dataset.blocks(beyond)) if dataset.has(beyond) else 0


def _require_volume(dataset: FrameSet, key: str) -> None:
    flat = torch.cat([torch.linalg.det(block.values["cell"]) == 0 for block in dataset.blocks("cell")])
    bad = (labelled(dataset, key, "graph") & flat).nonzero().flatten()
    if len(bad):
        file, frame = dataset.where(int(bad[0]))
        hint = "a stress is a derivative per volume: leave the label of molecules out"
        raise DataError(f"the frame has a {key}, but its cell has no volume", file=file, frame=frame, hint=hint)


def _require_symmetry(dataset: FrameSet, name: str, key: str, target: TargetSpec) -> None:
    """A part of a label that the target cannot express would be lost without a word."""
    if target.formula is None:
        return
    cartesian = CartesianTensor(target.formula)

    def rest(rows: Tensor) -> Tensor:
        lost = rows - cartesian.to_cartesian(cartesian.from_cartesian(rows))
        return lost.unsqueeze(-1).flatten(1).abs().amax(1).nan_to_num()

    largest, lost = 0.0, []
    for given, frame, frames in _rows(dataset, key, target.label.per):
        rows = given.to(torch.float64)
        if rows.numel():
            largest = max(largest, float(rows.nan_to_num().abs().max()))
        lost.append(rows.new_zeros(frames).scatter_reduce(0, frame, rest(rows), "amax"))
    bad = (torch.cat(lost) > TOLERANCE * largest).nonzero().flatten()
    if not len(bad):
        return
    index = int(bad[0])
    rows = dataset[index][key].to(torch.float64)
    row = int((rest(rows) > TOLERANCE * largest).nonzero()[0])
    file, frame = dataset.where(index)
    wanted = f"the target {name} ({target.formula})"
    hint = "write the symmetry it has, such as cartesian: ij for none, or mend the order of the components"
    raise DataError(
        f"{key} does not have the symmetry of {wanted}: {rows[row].tolist()}", file=file, frame=frame, hint=hint
    )
