"""The training, by Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.strategies import DDPStrategy

from e3frame.config.init import lr_factor
from e3frame.config.run import RunConfig
from e3frame.config.trainer import TrainerSpec
from e3frame.data.pipeline.batches import Place
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.module import DataModule
from e3frame.network import Model
from e3frame.training.checkpoint import Checkpoint, Damaged, SafeCheckpoints
from e3frame.training.checkpoints import Checkpoints
from e3frame.training.journal import Journal, ProgressBar
from e3frame.training.limits import Limits, ended
from e3frame.training.module import Training
from e3frame.training.processes import accelerator, environment, rank
from e3frame.training.session import Session, say
from e3frame.training.signals import Interrupted, Signals
from e3frame.training.weights import Averaged, parameter_groups


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        model: in eval mode, with the weights of its best epoch.
        device: device on which it was trained.
        epochs: epochs trained, in all sessions together.
        steps: steps of the optimizer, in all sessions together.
        best_epoch: epoch with the lowest ``trainer.monitor``, counted from 1.
        seconds: duration of training and validation, in all sessions together.
        ended: reason for the end of the training, for the user.
    """

    model: Model
    device: torch.device
    epochs: int
    steps: int
    best_epoch: int
    seconds: float
    ended: str


def fit(session: Session, model: Model, average: Averaged | None, splits: Splits) -> Fitted:
    """Train until the first limit is reached; return the model with the weights of the best epoch.

    Args:
        session: what is trained, where, and from which checkpoint.
        model: the model before the first step; the weights of a checkpoint are loaded into it.
        average: running mean of its weights; None: there is none.
        splits: the frames.

    Raises:
        UserError: something is not finite, the training was interrupted, or a file cannot be written.
        Damaged: the checkpoint cannot be restored.
    """
    config, folder, console, start = session.config, session.folder, session.console, session.start
    data = DataModule(splits, config.data, config.seed, _place(start, config), config.model.r_max)
    batches = len(data.train_dataloader())
    if data.place is not None and data.place.batch > batches:
        raise Damaged(f"it was saved after batch {data.place.batch}, but an epoch has {batches}")
    limits = Limits(config.trainer, batches)
    split = "train" if splits.val is None else "val"
    if split == "train":
        say(console, without_validation(config))
    optimizer = config.optimizer.build(parameter_groups(model, config.optimizer.lr, lr_factor(config.init)))
    schedules = [_following(s, split, config) for s in config.scheduler.build(optimizer, limits.progress)]
    journal = Journal(folder / "metrics.csv", config.task, limits, console, split)
    files = {name: dataset.files for name, dataset in data.splits.items()}
    module = Training(model, average, config.task, optimizer, schedules, journal, files, config.seed)
    checkpoints = Checkpoints(folder / "checkpoints", config.trainer, _monitored(config.trainer.monitor, split), module)
    signals = Signals(checkpoints)
    callbacks = [limits, signals, checkpoints, *session.observers, *_chosen(session, limits, split)]
    with quiet():
        trainer = _trainer(session, callbacks)
        try:
            trainer.fit(module, data, ckpt_path=None if start is None else start.path)
        except (KeyboardInterrupt, SystemExit):
            raise Interrupted(
                f"stopped immediately by a second interrupt, in epoch {trainer.current_epoch + 1}"
            ) from None
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if start is None or checkpoints.began:
                raise
            lines = str(error).splitlines() or [type(error).__name__]
            raise Damaged(f"it cannot be restored ({lines[0][:120]})") from error
        finally:
            signals.restore()  # Lightning has disabled some
    reason = ended(config.trainer, trainer.global_step, batches, limits.seconds)
    return _best(module.evaluated, checkpoints, trainer, limits, reason)


def _chosen(session: Session, limits: Limits, split: str) -> Iterator[Callback]:
    """Yield the callbacks that the trainer's options ask for."""
    trainer = session.config.trainer
    if trainer.early_stopping_patience is not None:
        yield _early_stopping(_monitored(trainer.monitor, split), trainer.early_stopping_patience, split)
    if trainer.progress_bar and session.console.is_terminal:
        yield ProgressBar(limits, session.console)


def fitted_before(session: Session, model: Model, splits: Splits) -> Fitted:
    """Return the result of a finished training, from its last checkpoint."""
    config, start = session.config, session.start
    assert start is not None
    callbacks = start.state["callbacks"]
    best = callbacks[Checkpoints.__qualname__]["best"]
    model.load_state_dict(best["weights"])
    epochs, seconds = start.state["epoch"], callbacks[Limits.__qualname__]["seconds"]
    batches = len(DataModule(splits, config.data, config.seed, None, config.model.r_max).train_dataloader())
    reason = ended(config.trainer, start.step, batches, seconds)
    return Fitted(model.eval(), torch.device("cpu"), epochs, start.step, best["epoch"], seconds, reason)


def _place(start: Checkpoint | None, config: RunConfig) -> Place:
    own = {"rank": rank(config.trainer), "world": config.trainer.world}
    if start is None:
        return Place(**own)
    batches = start.state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    return Place(start.state["epoch"], batches, **own)


def _best(model: Model, checkpoints: Checkpoints, trainer: Trainer, limits: Limits, reason: str) -> Fitted:
    model.load_state_dict(checkpoints.best["weights"])
    device = trainer.strategy.root_device
    epochs, steps = trainer.current_epoch, trainer.global_step
    return Fitted(model.eval(), device, epochs, steps, checkpoints.best["epoch"], limits.seconds, reason)


def _trainer(session: Session, callbacks: list[Callback]) -> Trainer:
    config, folder, spec = session.config, session.folder, session.config.trainer
    step = 0 if session.start is None else session.start.step
    return Trainer(
        accelerator=accelerator(spec),
        devices=spec.devices,
        num_nodes=spec.num_nodes,
        strategy=_strategy(spec),
        use_distributed_sampler=False,  # SharedBatches divides each batch, without padding
        max_epochs=-1,  # Limits ends the run
        max_steps=-1,
        callbacks=callbacks,
        plugins=[SafeCheckpoints(config.model_dump(mode="json")), environment(spec)],
        logger=(session.writes and config.logger.build(folder, step)) or False,
        check_val_every_n_epoch=spec.check_val_every_n_epoch,
        gradient_clip_val=spec.gradient_clip_val,
        deterministic=spec.deterministic,
        precision="bf16-mixed" if spec.dtype == "bf16-mixed" else None,
        inference_mode=False,  # forces are gradients in validation too
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _strategy(spec: TrainerSpec) -> str | DDPStrategy:
    if spec.world == 1:
        return "auto"
    backend = "nccl" if accelerator(spec) == "gpu" else "gloo"
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=True, broadcast_buffers=False)


def without_validation(config: RunConfig) -> str:
    """Return the message for a run without validation frames: the training metrics that decide, and what to write."""
    best = _monitored(config.trainer.monitor, "train")
    lines = [f"the best epoch has the lowest {'training loss' if best == 'train_loss' else best}"]
    if config.trainer.early_stopping_patience is not None:
        lines.append(f"trainer.early_stopping_patience follows {best}")
    if config.scheduler.monitored is not None:
        lines.append(f"scheduler={config.scheduler.kind} follows {_monitored(config.scheduler.monitored, 'train')}")
    if "split" in type(config.data).model_fields:
        lines.append("set data.split.val=0.1 to validate on 10% of the frames")
    return f"no validation frames: {'; '.join(lines)}"


def _monitored(name: str, split: str) -> str:
    return name if split == "val" else name.replace("val_", "train_", 1)


def _following(schedule: dict[str, Any], split: str, config: RunConfig) -> dict[str, Any]:
    """Let a schedule that follows a metric step when the metric is computed."""
    if "monitor" not in schedule:
        return schedule
    frequency = config.trainer.check_val_every_n_epoch if split == "val" else 1
    return {**schedule, "monitor": _monitored(schedule["monitor"], split), "frequency": frequency}


def _early_stopping(monitor: str, patience: int, split: str) -> EarlyStopping:
    return EarlyStopping(
        monitor=monitor,
        patience=patience,
        strict=split == "val",  # a training metric of the first epoch comes after this callback
        check_on_train_epoch_end=split == "train",
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's tips and tables of devices, which say nothing to the user of e3frame."""
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
