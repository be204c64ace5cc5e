"""The training itself, by Lightning."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rich.console import Console
from torch.optim.swa_utils import AveragedModel

from e3frame.config import RunConfig
from e3frame.data.module import DataModule
from e3frame.network import Model
from e3frame.spec.errors import SpecError, UserError
from e3frame.train.journal import Journal
from e3frame.train.limits import Limits
from e3frame.train.module import Training
from e3frame.train.progress import ProgressBar


@dataclass(frozen=True)
class Fitted:
    """A trained model, with the weights of its best epoch, and the device it was trained on."""

    model: Model
    device: torch.device
    epochs: int
    steps: int
    best_epoch: int
    seconds: float


def fit(
    model: Model,
    average: AveragedModel | None,
    config: RunConfig,
    data: DataModule,
    folder: Path,
    console: Console,
    observers: Sequence[Callback] = (),
) -> Fitted:
    """Train until the first limit, then take the weights of the best checkpoint.

    Raises:
        UserError: the loss is not finite, or the training was interrupted.
    """
    limits = Limits(config.trainer, len(data.train_dataloader()))
    split = "train" if data.splits.val is None else "val"
    if split == "train":
        console.print("no validation frames: the best checkpoint is that of the lowest training loss")
    optimizer = config.optimizer.build(model.parameters())
    schedules = [_following(s, split, config) for s in config.scheduler.build(optimizer, limits.progress)]
    journal = Journal(folder / "metrics.csv", config.task, limits, console, split)
    files = {name: dataset.files for name, dataset in data.splits.items()}
    module = Training(model, average, config.task, optimizer, schedules, journal, files)
    checkpoint = _checkpoint(config, split, folder)
    callbacks: list[Callback] = [limits, checkpoint, *observers]
    if config.trainer.early_stopping_patience is not None:
        callbacks.append(_early_stopping(config, split))
    if config.trainer.progress_bar and console.is_terminal:
        callbacks.append(ProgressBar(limits, console))
    with _quiet():
        trainer = _trainer(config, callbacks, folder)
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, data)
        except (KeyboardInterrupt, SystemExit):
            signal.signal(signal.SIGINT, handler)  # which Lightning has turned off
            last = folder / "checkpoints" / "last.ckpt"
            saved = f"\n  the state after the last whole epoch is in {last}" if last.exists() else ""
            raise UserError(f"interrupted in epoch {trainer.current_epoch + 1}{saved}") from None
    best = torch.load(checkpoint.best_model_path, weights_only=True, map_location="cpu")
    module.load_state_dict(best["state_dict"])
    return Fitted(
        module.evaluated.eval(),
        trainer.strategy.root_device,
        trainer.current_epoch,
        trainer.global_step,
        best["epoch"] + 1,
        limits.seconds,
    )


def _trainer(config: RunConfig, callbacks: list[Callback], folder: Path) -> Trainer:
    spec = config.trainer
    return Trainer(
        accelerator=_accelerator(spec.accelerator),
        devices=1,
        max_epochs=-1,  # Limits ends the run
        max_steps=-1,
        callbacks=callbacks,
        logger=config.logger.build(folder) or False,
        check_val_every_n_epoch=spec.check_val_every_n_epoch,
        gradient_clip_val=spec.gradient_clip_val,
        deterministic=spec.deterministic,
        inference_mode=False,  # forces are gradients in validation too
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _accelerator(name: str) -> str:
    """Lightning's auto would take Apple's GPUs too, which have no float64 for the sums of energies."""
    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if name == "gpu" and not torch.cuda.is_available():
        raise SpecError(("trainer", "accelerator"), "there is no CUDA GPU here", "write auto or cpu")
    return name


def _monitored(name: str, split: str) -> str:
    return name if split == "val" else name.replace("val_", "train_", 1)


def _following(schedule: dict[str, Any], split: str, config: RunConfig) -> dict[str, Any]:
    """A schedule that follows a metric steps when there is a new one."""
    if "monitor" not in schedule:
        return schedule
    frequency = config.trainer.check_val_every_n_epoch if split == "val" else 1
    return {**schedule, "monitor": _monitored(schedule["monitor"], split), "frequency": frequency}


def _checkpoint(config: RunConfig, split: str, folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename="best",
        monitor=_monitored(config.trainer.monitor, split),
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=split == "train",
    )


def _early_stopping(config: RunConfig, split: str) -> EarlyStopping:
    return EarlyStopping(
        monitor=_monitored(config.trainer.monitor, split),
        patience=config.trainer.early_stopping_patience,
        strict=split == "val",  # a training metric of the first epoch comes after this callback
        check_on_train_epoch_end=split == "train",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's tips and tables of devices tell the user of e3frame nothing."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*(does not have many workers|number of training batches).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
