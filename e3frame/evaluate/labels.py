"""Checks of labels and inputs: which frames have them, and whether a Cartesian label has the symmetry of its target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.edge_labels import beyond_key
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.errors import DataError, UserError

TOLERANCE = 1e-3
"""Largest part of a Cartesian label that may violate the symmetry, relative to the largest label; files are rounded."""


class Held(NamedTuple):
    """Count of the values of a label in a split. A missing value is NaN in the data.

    Attributes:
        frames: (frames,) whether a frame has any value.
        there, total: number of frames, atoms or edges with a value, and of all.
        beyond: number of pairs of atoms with a value that are no edges, because they are beyond r_max.
    """

    frames: Tensor
    there: int
    total: int
    beyond: int

    @classmethod
    def of(cls, dataset: FrameSet, key: str, per: str) -> Held:
        """Count in one pass over the data."""
        frames, there, total, beyond = [], 0, 0, 0
        extra = [beyond_key(key)] if dataset.has(beyond_key(key)) else []
        for rows, frame, number, more in _rows(dataset, key, per, extra):
            known = _known(rows)
            frames.append(torch.zeros(number, dtype=torch.long).index_add(0, frame, known.long()) > 0)
            there += int(known.sum())
            total += len(known)
            beyond += sum(int(values.sum()) for values in more)
        return cls(torch.cat(frames), there, total, beyond)


def _rows(
    dataset: FrameSet, key: str, per: str, extra: Sequence[str] = ()
) -> Iterator[tuple[Tensor, Tensor, int, list[Tensor]]]:
    """For each block: values of a label, the frame of each value (numbered within the block), the number of frames, and
    the values of the ``extra`` keys."""
    edges, first = dataset.counts("edge_index") if per == "edge" else None, 0
    for block in dataset.blocks(key, *extra):
        frames = len(block.atoms)
        sizes = torch.ones(frames, dtype=torch.long) if per == "graph" else block.atoms
        sizes = sizes if edges is None else edges[first : first + frames]
        frame = torch.repeat_interleave(torch.arange(frames), sizes)
        yield block.values[key], frame, frames, [block.values[name] for name in extra]
        first += frames


def _known(rows: Tensor) -> Tensor:
    """(rows,) whether a row has a value. There may be no rows, as for edges of isolated atoms."""
    return (~rows.isnan()).unsqueeze(-1).flatten(1).any(1)


def require_labels(splits: Splits, task: TaskSpec, monitors: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Require that every trained target has training labels, and that every monitored error can be computed.

    Args:
        monitors: metrics that decide about checkpoints or learning rates, such as ``val_stress_mae``.

    Returns:
        A remark for each label that some frames lack, such as ``stress in 120 of 400 train frames``.

    Raises:
        DataError, UserError: a target has no labels, or a label lacks the symmetry of its target.
    """
    missing: list[str] = []
    validated = set()
    for name, target in task.targets.items():
        key = task.key(name)
        for split, dataset in splits.items():
            held = Held.of(dataset, key, target.label.per)
            if split == "train" and target.trained:
                _require_any(held, dataset, name, key)
            if split == "val" and held.there:
                validated.add(name)
            missing += _missing(held, key, split, target.label.per)
            _require_symmetry(dataset, name, key, target)
            if target.derived is not None and target.derived.per_volume:
                _require_volume(dataset, key, held)
    if splits.val is not None:
        _require_monitored(validated, task, monitors)
    return tuple(missing)


def _require_any(held: Held, train: FrameSet, name: str, key: str) -> None:
    if not held.there:
        hint = f"all {held.beyond:,} pairs of atoms with this label are beyond r_max" if held.beyond else None
        file = ", ".join(train.files)
        raise DataError(f"no training frame has the label '{key}' of the target {name}", file=file, hint=hint)


def _require_monitored(there: set[str], task: TaskSpec, monitors: tuple[str, ...]) -> None:
    if not any(task.targets[name].last_weight > 0 for name in there):
        wanted = ", ".join(task.key(name) for name, target in task.targets.items() if target.last_weight > 0)
        raise UserError(
            f"no validation frame has a label to choose the best checkpoint\n  labels of the targets: {wanted}"
        )
    for name in task.targets.keys() - there:
        for monitor in monitors:
            if monitor in (f"val_{name}_mae", f"val_{name}_rmse"):
                problem = f"{monitor} is monitored, but no validation frame has the label '{task.key(name)}'"
                raise UserError(f"{problem}\n  set trainer.monitor=val_loss")


def require_inputs(dataset: FrameSet, inputs: Collection[str]) -> None:
    """Raise DataError for the first frame without an input of the model, which would predict NaN."""
    for name in inputs:
        lacking = (~Held.of(dataset, name, "graph").frames).nonzero().flatten()
        if len(lacking):
            file, frame = dataset.where(int(lacking[0]))
            hint = "labels may be missing, inputs may not"
            raise DataError(
                f"the frame has no {name}, which is an input of the model", file=file, frame=frame, hint=hint
            )


def _missing(held: Held, key: str, split: str, per: str) -> Iterator[str]:
    if not held.frames.all():
        yield f"{key} in {int(held.frames.sum()):,} of {len(held.frames):,} {split} frames"
    if per == "edge" and held.there < held.total:
        yield f"{key} on {held.there:,} of {held.total:,} {split} edges"
    if held.beyond:
        yield f"{key} of {held.beyond:,} {split} pairs beyond r_max, left out"


def _require_volume(dataset: FrameSet, key: str, held: Held) -> None:
    flat = torch.cat([torch.linalg.det(block.values["cell"]) == 0 for block in dataset.blocks("cell")])
    bad = (held.frames & flat).nonzero().flatten()
    if len(bad):
        file, frame = dataset.where(int(bad[0]))
        hint = "a stress is a derivative per volume: remove the label from molecules"
        raise DataError(f"the frame has a {key}, but its cell has no volume", file=file, frame=frame, hint=hint)


def _require_symmetry(dataset: FrameSet, name: str, key: str, target: TargetSpec) -> None:
    """Raise DataError for a label with a part that the target cannot express, which would be lost silently."""
    if target.formula is None:
        return
    cartesian = CartesianTensor(target.formula)

    def rest(rows: Tensor) -> Tensor:
        lost = rows - cartesian.to_cartesian(cartesian.from_cartesian(rows))
        return lost.unsqueeze(-1).flatten(1).abs().amax(1).nan_to_num()

    largest, lost = 0.0, []
    for given, frame, frames, _ in _rows(dataset, key, target.label.per):
        rows = given.to(torch.float64)
        if rows.numel():
            largest = max(largest, float(rows.nan_to_num().abs().max()))
        lost.append(rows.new_zeros(frames).scatter_reduce(0, frame, rest(rows), "amax"))
    bad = (torch.cat(lost) > TOLERANCE * largest).nonzero().flatten()
    if not len(bad):
        return
    index = int(bad[0])
    values = dataset[index][key].to(torch.float64)
    row = int((rest(values) > TOLERANCE * largest).nonzero()[0])
    file, number = dataset.where(index)
    wanted = f"the target {name} ({target.formula})"
    hint = "set the symmetry of the label, such as cartesian: ij for none, or correct the order of its components"
    raise DataError(
        f"{key} does not have the symmetry of {wanted}: {values[row].tolist()}", file=file, frame=number, hint=hint
    )
