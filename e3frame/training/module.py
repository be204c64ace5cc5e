"""The Lightning module: one step for training and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch_geometric.data import Batch

from e3frame.config.targets import TaskSpec
from e3frame.data.pipeline.graphs import model_input
from e3frame.evaluate.losses import Loss, Sum
from e3frame.evaluate.metrics import TaskErrors, sums
from e3frame.network import Model
from e3frame.spec.errors import UserError
from e3frame.training.checkpoints import not_finite
from e3frame.training.journal import Journal


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
        seed: with the number of the step, decides dropout, so that a resumed run draws what it would have drawn.
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
        """The model whose errors are reported and which is saved."""
        return self.model if self.average is None else self.average.module

    def configure_optimizers(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        return [self.optimizer], self.schedules

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        self._evaluate_optimizer(False)
        torch.manual_seed(((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank) % 2**63)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        self._batch = batch
        surplus = self.trainer.train_dataloader.batch_sampler.surplus
        return self._step(self.model, batch, None if index in surplus else self.train_errors)

    def validation_step(self, batch: Batch, index: int) -> None:
        surplus = self.trainer.val_dataloaders.batch_sampler.surplus
        self._step(self.evaluated, batch, None if index in surplus else self.val_errors)

    def _step(self, model: Model, batch: Batch, errors: TaskErrors | None) -> Tensor:
        """The loss of a batch, which ``errors`` count; None: of a batch that must not count."""
        atoms = batch.ptr.diff()
        outputs = model(model_input(batch, inputs=model.spec.inputs))
        pairs = self.loss.pairs(outputs, batch, atoms)
        parts = self.loss.parts(pairs, batch, atoms)
        training = model is self.model and self.trainer.training
        means = self._means(parts, training, errors is not None)
        loss = self.loss.total(means, self.current_epoch if training else None)
        kind = "loss" if training else "validation loss"
        self._require_finite(bool(torch.isfinite(loss)), training, lambda: self._diverged(kind, means, batch))
        if errors is not None:
            errors.update(pairs, atoms, parts)
        return loss

    def _means(self, parts: Mapping[str, Sum], training: bool, counts: bool) -> dict[str, Tensor]:
        """The mean loss of each target over the batch, times the number of processes, which average their gradients."""
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
        """By the norm. Lightning's own refuses fused optimizers in bf16, fearing scaled gradients, of which there are
        none."""
        if gradient_clip_val is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all())
        wrong = [] if finite else [name for name, _ in not_finite(self.model, gradients=True)]
        self._require_finite(not wrong, True, lambda: self._diverged("gradient", wrong, self._batch))

    def _require_finite(self, finite: bool, everywhere: bool, message: Callable[[], UserError]) -> None:
        """Raise ``message()`` where something is not finite; ``everywhere``: in all processes, which meet here."""
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
        """What Lightning does not keep: the errors of an epoch that is not over, and the lines of ``metrics.csv``."""
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
        """Schedule-free optimizers keep the weights to evaluate apart from those where gradients are taken."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval() if evaluate else self.optimizer.train()

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
        """The message for a loss, given those of the targets, or for gradients, given the weights' names."""
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
            "  lower optimizer.lr, set trainer.gradient_clip_val, or look at these frames"
        )
