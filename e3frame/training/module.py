"""The Lightning module: one step for training and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch_geometric.data import Batch

from e3frame.config.targets import TaskSpec
from e3frame.data.pipeline.graphs import model_input
from e3frame.evaluate.losses import Loss, Sum
from e3frame.evaluate.metrics import TaskErrors, sums
from e3frame.network import Model
from e3frame.spec.errors import UserError
from e3frame.training.journal import Journal
from e3frame.training.weights import Averaged, not_finite


class Training(LightningModule):
    """Train a model on the targets of a task.

    Args:
        model: the model to train.
        average: running mean of its weights, which is validated in its place; None: the model itself is validated.
        task: targets, with their weights.
        optimizer: optimizer of the parameters of ``model``.
        schedules: schedules of the learning rate, in Lightning's form.
        journal: records the errors of each epoch.
        files: names of the files of each split, for messages.
        seed: random seed. Dropout depends on the seed and the step, so that a resumed run draws the same numbers.
    """

    def __init__(
        self,
        model: Model,
        average: Averaged | None,
        task: TaskSpec,
        optimizer: Optimizer,
        schedules: Sequence[dict[str, Any]],
        journal: Journal,
        files: Mapping[str, Sequence[str]],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.average = model, average
        self.loss = Loss(task)
        self.train_errors, self.val_errors = TaskErrors(task), TaskErrors(task)
        self.optimizer, self.schedules = optimizer, list(schedules)
        self.journal, self.files, self.seed = journal, files, seed
        self._latest: dict[str, float] = {}
        self._batch: Batch | None = None

    @property
    def evaluated(self) -> Model:
        """The model that is validated, tested and saved."""
        return self.model if self.average is None else self.average.module

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        return [self.optimizer], self.schedules

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        self._evaluate_optimizer(False)
        torch.manual_seed(((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank) % 2**63)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        self._batch = batch
        counts = _counts(self.trainer.train_dataloader, index)
        return self._step(self.model, batch, self.train_errors if counts else None)

    def validation_step(self, batch: Batch, index: int) -> None:
        counts = _counts(self.trainer.val_dataloaders, index)
        self._step(self.evaluated, batch, self.val_errors if counts else None)

    def _step(self, model: Model, batch: Batch, errors: TaskErrors | None) -> Tensor:
        """Return the loss of a batch, and add it to ``errors``; None: the batch is a repetition that must not count."""
        atoms = batch.ptr.diff()
        outputs = model(model_input(batch, inputs=model.spec.inputs))
        residuals = self.loss.residuals(outputs, batch, atoms)
        parts = self.loss.parts(residuals, batch, atoms)
        training = model is self.model and self.trainer.training
        means = self._means(parts, training, errors is not None)
        loss = self.loss.total(means, self.current_epoch if training else None)
        kind = "loss" if training else "validation loss"
        self._require_finite(bool(torch.isfinite(loss)), training, lambda: self._diverged(kind, means, batch))
        if errors is not None:
            errors.update(residuals, atoms, parts)
        return loss

    def _means(self, parts: Mapping[str, Sum], training: bool, counts: bool) -> dict[str, Tensor]:
        """Return the mean loss of each target over the whole batch of all processes.

        It is multiplied by the number of processes, because they average their gradients.
        """
        world = self.trainer.world_size
        if world == 1 or not training:
            return {name: part.mean for name, part in parts.items()}
        own = torch.tensor([int(part.count) if counts else 0 for part in parts.values()], device=self.device)
        total = self.trainer.strategy.reduce(own.to(torch.float64), reduce_op="sum").clamp(min=1)
        factors = world / total if counts else 0.0 * total
        return {name: part.value * factor for (name, part), factor in zip(parts.items(), factors, strict=True)}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip gradients by their norm. Lightning's own method refuses fused optimizers in bf16, in case gradients are
        scaled; here they never are."""
        if gradient_clip_val is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all())
        wrong = [] if finite else list(not_finite(self.model, gradients=True))
        self._require_finite(not wrong, True, lambda: self._diverged("gradient", wrong, self._batch))

    def _require_finite(self, finite: bool, everywhere: bool, message: Callable[[], UserError]) -> None:
        """Raise ``message()`` unless ``finite``.

        Args:
            finite: what this process has found.
            everywhere: all processes call this, and raise if one of them has found otherwise.
            message: gives the error.
        """
        if self.trainer.world_size == 1 or not everywhere:
            if not finite:
                raise message()
            return
        if self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        texts: list[str | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(texts, None if finite else str(message()))
        raise UserError(next(text for text in texts if text))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not save: the errors of an unfinished epoch, and the lines of ``metrics.csv``."""
        reduce = self.trainer.strategy.reduce
        checkpoint["train_errors"] = [reduce(own.clone(), reduce_op="sum") for own in sums(self.train_errors)]
        checkpoint["journal"] = self.journal.read() if self.trainer.is_global_zero else ""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not self.trainer.is_global_zero:
            return
        for own, kept in zip(sums(self.train_errors), checkpoint["train_errors"], strict=True):
            own.copy_(kept)
        self.journal.restore(checkpoint["journal"])

    def on_train_start(self) -> None:
        if self.trainer.is_global_zero:
            self.journal.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _evaluate_optimizer(self, evaluate: bool) -> None:
        """Switch a schedule-free optimizer between the weights to evaluate and those where gradients are taken."""
        switch = getattr(self.optimizer, "eval" if evaluate else "train", None)
        if switch is not None:
            switch()

    def on_validation_start(self) -> None:
        self._evaluate_optimizer(True)

    def on_validation_epoch_end(self) -> None:
        self._report("val", self.val_errors)

    def on_train_epoch_end(self) -> None:
        self._evaluate_optimizer(True)
        self._report("train", self.train_errors)
        lr = self.optimizer.param_groups[0]["lr"]
        last = self.trainer.should_stop
        if self.trainer.is_global_zero:
            self.journal.epoch(self.current_epoch + 1, self.global_step, lr, self._latest, last)
        self._latest = {}

    def _report(self, split: str, errors: TaskErrors) -> None:
        values = {f"{split}_{name}": value for name, value in errors.flat().items()}
        errors.reset()
        self.log_dict(values)
        self._latest |= values

    def _diverged(self, what: str, tensors: Mapping[str, Tensor] | Sequence[str], batch: Batch) -> UserError:
        """Return the error for a loss or a gradient that is not finite.

        Args:
            what: what is not finite.
            tensors: the loss of each target, or the names of the weights whose gradients are not finite.
            batch: the frames that it comes from.
        """
        split = "train" if self.trainer.training else "val"
        frames: dict[str, list[str]] = {}
        for file, frame in zip(batch.file.tolist(), batch.frame.tolist(), strict=True):
            frames.setdefault(self.files[split][file], []).append(str(frame))
        where = "; ".join(f"{file}, frames {', '.join(numbers)}" for file, numbers in frames.items())
        if isinstance(tensors, Mapping):
            shown = [f"{name} {value.item():g}" for name, value in tensors.items()]
        else:
            shown = [*tensors[:3], *([f"and {len(tensors) - 3} more weights"] if len(tensors) > 3 else [])]
        place = f"step {self.global_step} (epoch {self.current_epoch + 1})"
        return UserError(
            f"the {what} is not finite at {place}: {', '.join(shown)}\n"
            f"  {where}\n"
            "  lower optimizer.lr, set trainer.gradient_clip_val, or check these frames"
        )


def _counts(loader: Any, index: int) -> bool:
    """Whether the batch counts; some are repeated so that all processes have the same number of batches."""
    return index not in loader.batch_sampler.surplus
