"""Errors of a model on labelled frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.targets import TaskSpec
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.module import make_loader
from e3frame.data.pipeline.single_atoms import KEY
from e3frame.data.sources.base import DataSpec
from e3frame.data.sources.budget import Budget
from e3frame.data.sources.splitting import TooFew
from e3frame.evaluate.breakdown import Predicted
from e3frame.evaluate.comparison import Comparison
from e3frame.evaluate.labels import require_inputs
from e3frame.evaluate.losses import Loss
from e3frame.evaluate.metrics import Errors, TaskErrors, as_json
from e3frame.evaluate.residuals import Residual
from e3frame.files.written import replace_file
from e3frame.inference.device import Device, read_device, without_modes
from e3frame.inference.saved import SavedModel
from e3frame.network import Model
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.words import printable, rounded


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on one split.

    Attributes:
        frames: number of frames.
        errors: errors of each target that has labels.
        loss: loss with the weights of the end of the training.
        residuals: those of each target, (rows, components) in float64 in the units of the data; Cartesian
            if the target is.
        frame_errors: (frames,) for each target, RMSE of each frame in the unit of the errors; NaN for a frame without
            labels.
        places: file of each frame, and its number there.
        atoms: (frames,) number of atoms.
        composition: (frames, species) number of atoms of each species.
        species: (all atoms,) index of each atom's species.
    """

    frames: int
    errors: Mapping[str, Errors]
    loss: float
    residuals: Mapping[str, Residual] = field(repr=False)
    frame_errors: Mapping[str, Tensor] = field(repr=False)
    places: Sequence[tuple[str, int]] = field(repr=False)
    atoms: Tensor = field(repr=False)
    composition: Tensor = field(repr=False)
    species: Tensor = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """The entry of a split in ``metrics.json``."""
        return {"frames": self.frames, "loss": self.loss} | {name: as_json(e) for name, e in self.errors.items()}


def predictions(model: Model, dataset: FrameSet, batch_size: int | Budget) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Batches in the order of the frames, each with the outputs of the model; without gradients."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        for batch in make_loader(dataset, batch_size):
            moved = batch.to(device)
            yield moved, model(model_input(moved, inputs=model.spec.inputs))


def evaluate_split(model: Model, dataset: FrameSet, task: TaskSpec, batch_size: int | Budget = 64) -> Evaluation:
    """Errors of a model on a data set with the labels of the task; independent of the batch size."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    loss, errors = Loss(task), TaskErrors(task).to(device)
    found: dict[str, list[Residual]] = {name: [] for name in task.targets}
    atoms, edges, species, ends, places = [], [], [], [], []
    by_edge = any(target.label.per == "edge" for target in task.targets.values())
    for batch, outputs in predictions(model, dataset, batch_size):
        count = batch.ptr.diff()
        residuals = loss.residuals(outputs, batch, count)
        where = [(dataset.files[k], frame) for k, frame in zip(batch.file.tolist(), batch.frame.tolist(), strict=True)]
        _require_finite(residuals, task, batch, where)
        errors.update(residuals, count, loss.parts(residuals, batch, count))
        atoms.append(count.cpu())
        species.append(model.species_index(batch.z).cpu())
        if by_edge:
            edges.append(batch.batch[batch.edge_index[1]].bincount(minlength=len(count)).cpu())
            ends.append(species[-1][batch.edge_index.cpu()])
        places += where
        for name, residual in residuals.items():
            found[name].append(Residual(residual.prediction.cpu(), residual.label.cpu()))
    sizes, kinds = torch.cat(atoms), torch.cat(species)
    composition = torch.zeros(len(sizes), len(model.spec.species), dtype=torch.float64)
    frame = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    composition.index_put_((frame, kinds), torch.ones(len(kinds), dtype=torch.float64), accumulate=True)
    rows = {
        "graph": (torch.ones_like(sizes), kinds[:0], ()),
        "node": (sizes, kinds, model.spec.species),
    }
    if by_edge:
        rows["edge"] = (torch.cat(edges), *_kinds_of_edges(torch.cat(ends, 1), model.spec.species))
    predicted = {
        name: Predicted(
            *(target, _joined(found[name]), task.unit(name), sizes, *rows[target.label.per]),
            composition if _is_sum(model, name) else None,
        )
        for name, target in task.targets.items()
    }
    return Evaluation(
        frames=len(dataset),
        errors={name: predicted[name].detailed(e) for name, e in errors.compute().items()},
        loss=errors.loss(),
        residuals={name: each.shown for name, each in predicted.items()},
        frame_errors={name: each.frame_errors() for name, each in predicted.items()},
        places=places,
        atoms=sizes,
        composition=composition,
        species=kinds,
    )


def _is_sum(model: Model, name: str) -> bool:
    """Whether an output is a sum over atoms, so that reference energies explain a part of it."""
    layer = model.spec.outputs.get(name)
    return layer is not None and layer.extensive is True


def _kinds_of_edges(ends: Tensor, species: Sequence[str]) -> tuple[Tensor, list[str]]:
    """(edges,) index of the pair of species of each edge, from ``ends`` (2, edges), and the names of all pairs."""
    low, high = ends.amin(0), ends.amax(0)
    names = [f"{a}-{b}" for a in species for b in species]
    return low * len(species) + high, names


def _joined(parts: Sequence[Residual]) -> Residual:
    return Residual(torch.cat([part.prediction for part in parts]), torch.cat([part.label for part in parts]))


def _require_finite(
    residuals: Mapping[str, Residual], task: TaskSpec, batch: Batch, where: Sequence[tuple[str, int]]
) -> None:
    owners = {"node": batch.batch, "edge": batch.batch[batch.edge_index[1]]}
    for name, residual in residuals.items():
        bad = (~torch.isfinite(residual.prediction) & residual.labelled).any(-1).nonzero().flatten()
        if len(bad):
            row, per = int(bad[0]), task.targets[name].label.per
            file, frame = where[row if per == "graph" else int(owners[per][row])]
            raise DataError(f"the model's {name} is not finite", file=file, frame=frame)


def error_table(splits: Mapping[str, Evaluation], title: str) -> Table:
    """MAE, RMSE and R² of each target on each split; for vectors also the MAE in percent of that of predicting zero."""
    shown = Text(printable(title), "table.title")
    table = Table(title=shown, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    if any(errors.zero_mae for evaluation in splits.values() for errors in evaluation.errors.values()):
        table.caption = "of zero: MAE in percent of the MAE of predicting zero"
    for heading in ("target", "split", "frames", "MAE", "RMSE", "unit", "R²", "of zero"):
        left = heading in ("target", "split", "unit")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading == "target")
    for name in next(iter(splits.values())).residuals:
        for split, evaluation in splits.items():
            _add_rows(table, name, split, evaluation)
    return table


def _add_rows(table: Table, name: str, split: str, evaluation: Evaluation) -> None:
    def add(*cells: str) -> None:  # units and names come from files, and may look like markup
        table.add_row(*(Text(printable(cell)) for cell in cells))

    errors = evaluation.errors.get(name)
    if errors is None:
        add(name, split, f"0 of {evaluation.frames:,}", "", "", "no labels", "", "")
        return
    frames = f"{evaluation.frames:,}" if errors.frames is None else f"{errors.frames:,} of {evaluation.frames:,}"
    r2 = "" if errors.r2 is None else f"{errors.r2:.4f}"
    zero = ""
    if errors.zero_mae:
        zero = f"{100 * errors.mae / errors.zero_mae:.1f} %"
    if errors.mae_per_atom is not None:
        mae, rmse, unit = errors.shown
        add(name, split, frames, rounded(mae, 4), rounded(rmse, 4), unit.lstrip("/"), r2, "")
        r2 = ""
    add(name, split, frames, rounded(errors.mae, 4), rounded(errors.rmse, 4), errors.unit, r2, zero)


def evaluate(
    model: str | Path,
    data: DataSpec,
    split: str = "test",
    device: Device = "cpu",
    plugins: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda remark: None,
) -> dict[str, Evaluation]:
    """Errors of a saved model on labelled frames, for each label that the model predicts, forces and stress from its
    energy included.

    Args:
        model: the file, the folder of its run, or ``runs/<name>`` for the newest run of that name.
        data: the frames, with their own keys and units. A frame may lack any label.
        split: ``train``, ``val``, ``test``, or ``all`` for each of them.
        device: where the model runs.
        plugins: as for :func:`e3frame.load_model`.
        say: takes remarks: how many of the frames are used, which labels are missing, and which are not compared.

    Returns:
        The evaluation of each split.

    Raises:
        UserError: the split does not exist, the data have no label that the model predicts, lack an input of the
            model, or contain an element that it does not know.
    """
    saved, place = SavedModel.read(model, plugins), read_device(device)
    comparison = Comparison.of(saved, data)
    try:
        loaded, single = comparison.load()
    except TooFew as error:
        raise DataError(error.problem, file=error.file, hint="split=all uses all frames, undivided") from None
    splits = dict(loaded.items())
    if split != "all" and split not in splits:
        raise UserError(f"the data have no {split} frames\n  choose {', '.join(splits)} or all")
    chosen = splits if split == "all" else {split: splits[split]}
    for dataset in chosen.values():
        require_known(saved.spec.species, dataset)
        require_inputs(dataset, saved.spec.inputs)
    task = comparison.labelled(chosen)
    apart = [f"{single.what} define the model's reference energies and are excluded; {KEY} includes them"]
    for remark in [*comparison.remarks(splits, chosen), *(apart if single.energies else single.remarks)]:
        say(remark)
    network = saved.build(place, spec=comparison.spec)
    with without_modes(place):
        return {name: evaluate_split(network, dataset, task, data.eval_batch_size) for name, dataset in chosen.items()}


def require_known(species: tuple[str, ...], dataset: FrameSet) -> None:
    """Raise DataError for the first frame with an element that the model does not know."""
    if set(dataset.species) <= set(species):
        return
    known = torch.tensor([ATOMIC_NUMBERS[symbol] for symbol in species])
    for index, graph in enumerate(dataset):
        unknown = graph.z[~torch.isin(graph.z, known)].unique().tolist()
        if unknown:
            file, frame = dataset.where(index)
            symbols = ", ".join(SYMBOLS[z] for z in unknown)
            raise DataError(
                f"the model does not know {symbols}", file=file, frame=frame, hint=f"it knows {', '.join(species)}"
            )


def write_metrics(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` in one step."""
    replace_file(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
