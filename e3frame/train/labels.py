"""Which frames have which labels, and whether a Cartesian label has the symmetry that the target says."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from e3frame.data.dataset import Splits
from e3frame.data.frameset import FrameSet
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.errors import DataError, UserError
from e3frame.train.targets import TargetSpec, TaskSpec

TOLERANCE = 1e-3
"""Largest part of a Cartesian label without the symmetry, relative to the largest label: files hold few digits."""


def labelled(dataset: FrameSet, key: str, per: str) -> Tensor:
    """(frames,) whether a frame has any value of the label ``key``; where it has none, the data hold NaN."""
    found = []
    for block in dataset.blocks(key):
        rows = block.values[key]
        there = (~rows.reshape(len(rows), -1).isnan()).any(1)
        if per == "node":
            there = torch.zeros(len(block.atoms), dtype=torch.long).index_add(0, block.frame, there.long()) > 0
        found.append(there)
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
            raise DataError(f"no training frame has the label '{key}' of the target {name}", file=file)
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


def missing_labels(splits: Splits, task: TaskSpec) -> Iterator[str]:
    """What is said aloud: ``stress in 120 of 400 train frames``, for each label that some frames lack."""
    for name, target in task.targets.items():
        key = task.key(name)
        for split, dataset in splits.items():
            there = labelled(dataset, key, target.label.per)
            if not there.all():
                yield f"{key} in {int(there.sum())} of {len(there)} {split} frames"


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
        return lost.reshape(len(rows), -1).abs().amax(1).nan_to_num()

    largest, lost = 0.0, []
    for block in dataset.blocks(key):
        rows = block.values[key].to(torch.float64)
        largest = max(largest, float(rows.nan_to_num().abs().max()))
        worst = rest(rows)
        if target.label.per == "node":
            worst = worst.new_zeros(len(block.atoms)).scatter_reduce(0, block.frame, worst, "amax")
        lost.append(worst)
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
