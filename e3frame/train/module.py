"""The Lightning module: one step for training and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch_geometric.data import Batch

from e3frame.data.batch import model_input
from e3frame.network import Model
from e3frame.spec.errors import UserError
from e3frame.train.journal import Journal
from e3frame.train.losses import Loss
from e3frame.train.metrics import TaskErrors
from e3frame.train.targets import TaskSpec


class Training(LightningModule):
    """Trains a model on the targets of a task.

    Args:
        model: what is trained.
        average: its running mean, which is validated in its place; None: the model itself.
        task: targets, with their weights.
        optimizer: over the parameters of ``model``.
        schedules: of the learning rate, in Lightning's form.
        journal: is told what each epoch gave.
        files: names of the files of the frames of each split, for messages.
    """

    def __init__(
        self,
        model: Model,
        average: AveragedModel | None,
        task: TaskSpec,
        optimizer: Optimizer,
        schedules: Sequence[dict[str, Any]],
        journal: Journal,
        files: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__()
        self.model, self.average = model, average
        self.loss = Loss(task)
        self.train_errors, self.val_errors = TaskErrors(task), TaskErrors(task)
        self.optimizer, self.schedules = optimizer, list(schedules)
        self.journal, self.files = journal, files
        self._latest: dict[str, float] = {}

    @property
    def evaluated(self) -> Model:
        """The model whose errors are reported and which is saved."""
        return self.model if self.average is None else self.average.module

    def configure_optimizers(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        return [self.optimizer], self.schedules

    def training_step(self, batch: Batch, index: int) -> Tensor:
        return self._step(self.model, batch, self.train_errors)

    def validation_step(self, batch: Batch, index: int) -> None:
        self._step(self.evaluated, batch, self.val_errors)

    def _step(self, model: Model, batch: Batch, errors: TaskErrors) -> Tensor:
        atoms = batch.ptr.diff()
        outputs = model(model_input(batch))
        pairs = self.loss.pairs(outputs, batch, atoms)
        parts = self.loss.parts(pairs, batch, atoms)
        epoch = self.current_epoch if model is self.model else None
        loss = self.loss.total({name: part.mean for name, part in parts.items()}, epoch)
        if not torch.isfinite(loss):
            raise self._diverged({name: float(part.mean.detach()) for name, part in parts.items()}, batch)
        errors.update(pairs, atoms, parts)
        return loss

    def on_train_start(self) -> None:
        self.journal.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_validation_epoch_end(self) -> None:
        self._report("val", self.val_errors)

    def on_train_epoch_end(self) -> None:
        self._report("train", self.train_errors)
        lr = self.optimizer.param_groups[0]["lr"]
        last = self.trainer.should_stop
        self.journal.epoch(self.current_epoch + 1, self.global_step, lr, self._latest, last)
        self._latest = {}

    def _report(self, split: str, errors: TaskErrors) -> None:
        values = {f"{split}_{name}": value for name, value in errors.flat().items()}
        errors.reset()
        self.log_dict(values)
        self._latest |= values

    def _diverged(self, losses: Mapping[str, float], batch: Batch) -> UserError:
        split = "train" if self.trainer.training else "val"
        frames: dict[str, list[str]] = {}
        for file, frame in zip(batch.file.tolist(), batch.frame.tolist(), strict=True):
            frames.setdefault(self.files[split][file], []).append(str(frame))
        where = "; ".join(f"{file}, frames {', '.join(numbers)}" for file, numbers in frames.items())
        values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        kind = "loss" if split == "train" else "validation loss"
        return UserError(
            f"the {kind} is not finite at step {self.global_step} (epoch {self.current_epoch + 1}): {values}\n"
            f"  {where}\n"
            "  lower optimizer.lr, set trainer.gradient_clip_val, or look at these frames"
        )
