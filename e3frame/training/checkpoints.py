"""When a training is saved, which checkpoints are kept, and the best weights so far, which every checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback

from e3frame.config.trainer import TrainerSpec
from e3frame.files.checkpoints import checkpoint_file, checkpoint_files, step_of
from e3frame.spec.errors import UserError
from e3frame.training.checkpoint import Checkpoint, Damaged, read_checkpoint
from e3frame.training.module import Training
from e3frame.training.weights import not_finite

KEPT = 2
"""Number of checkpoints kept: if the newest is damaged, the one before takes its place."""


class Checkpoints(CheckpointCallback):
    """Save before the first step of each epoch, every few minutes within it, on request, and at the end.

    Every checkpoint is taken between two steps, once all that follows a step (schedule, validation, ``metrics.csv``) is
    done, so that there is one kind of state to continue from.

    Args:
        folder: folder of the checkpoints.
        spec: says how often to save.
        monitor: metric whose lowest value marks the best weights.
        training: holds the weights.
    """

    def __init__(self, folder: Path, spec: TrainerSpec, monitor: str, training: Training) -> None:
        self.folder, self.monitor, self.training = folder, monitor, training
        self.seconds, self.steps = 60.0 * spec.checkpoint_minutes, spec.checkpoint_steps
        self.best: dict[str, Any] = {}
        self.done = self.began = False
        self._validated = False
        self._saved_step, self._saved_at = 0, time.monotonic()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.began = True
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        loop = trainer.fit_loop
        # The batch that was fetched when the checkpoint was taken will be fetched again.
        loop.epoch_loop.batch_progress.total.ready = loop.epoch_loop.batch_progress.total.completed
        loop._restarting = False  # else a schedule that follows a metric would skip the first epoch

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        within = time.monotonic() - self._saved_at >= self.seconds
        if self.steps is not None:
            within |= trainer.global_step - self._saved_step >= self.steps
        if index == 0:  # else Lightning, continuing from here, would take the validation of the epoch for done
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()
        if index == 0 or trainer.strategy.reduce_boolean_decision(within, all=False):
            self.save(trainer)

    def save(self, trainer: Trainer) -> Path | None:
        """Save the state between two steps.

        Returns:
            The file; None before the first step.

        Raises:
            UserError: some weights are not finite, so that no run should continue from them; or the file cannot be
                written.
        """
        step = trainer.global_step
        path = checkpoint_file(self.folder, step)
        if step == 0 or (step == self._saved_step and not self.done):
            return path if path.exists() else None
        _require_finite(self.training, step)
        trainer.save_checkpoint(path)
        self._saved_step, self._saved_at = step, time.monotonic()
        if trainer.is_global_zero:
            for old in set(checkpoint_files(self.folder)) - set(kept(self.folder, step)):
                old.unlink()
        return path

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._validated and self.monitor.startswith("val_"):
            return
        self._validated = False
        value = float(trainer.callback_metrics[self.monitor])
        if not self.best or value < self.best["value"]:
            weights = {
                name: tensor.detach().cpu().clone() for name, tensor in self.training.evaluated.state_dict().items()
            }
            self.best = {"value": value, "epoch": trainer.current_epoch + 1, "weights": weights}

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.done = True
        self.save(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["done"] = self.done
        # Lightning expects to be saved within a step, and adds one when it continues.
        checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def kept(folder: Path, step: int) -> list[Path]:
    """Return the checkpoint of a step and those before it that are kept."""
    return [path for path in checkpoint_files(folder) if step_of(path) <= step][-KEPT:]


def newest(folder: Path, before: int | None = None) -> Iterator[Checkpoint | tuple[Path, str]]:
    """Read the checkpoints of a folder, the newest first.

    Args:
        folder: folder of the checkpoints.
        before: leave out the checkpoints of this step and of later ones.

    Yields:
        A checkpoint; if it is damaged, its file and the reason.
    """
    for path in reversed([path for path in checkpoint_files(folder) if before is None or step_of(path) < before]):
        try:
            yield read_checkpoint(path)
        except Damaged as error:
            yield path, str(error)
        except OSError as error:
            yield path, f"it cannot be read: {error.strerror}"


def _require_finite(training: Training, step: int) -> None:
    wrong = list(not_finite(training.model))
    if wrong:
        raise UserError(
            f"the weights are not finite after step {step}: {', '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}\n"
            "  lower optimizer.lr, or set trainer.gradient_clip_val"
        )
