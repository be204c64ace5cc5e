"""The training of a run: the files before its first step, the initial weights, and the checkpoint it continues from."""

from __future__ import annotations

from dataclasses import replace

import torch
import yaml

from e3frame.data.pipeline.dataset import Splits
from e3frame.files.checkpoints import step_of
from e3frame.files.written import write_file
from e3frame.network import Model
from e3frame.run.contents import record
from e3frame.run.form import require_form
from e3frame.run.peers import together
from e3frame.run.report import model_line
from e3frame.run.resume import find, not_a_checkpoint, require_same
from e3frame.run.transfer import apply
from e3frame.training.checkpoint import Damaged
from e3frame.training.fit import Fitted, fit, fitted_before
from e3frame.training.session import Session, say
from e3frame.training.weights import Averaged
from e3frame.version import __version__


def train_from_sound(session: Session, splits: Splits) -> Fitted:
    """Train from the checkpoint of a session, or from an earlier one if that is damaged."""
    random = torch.get_rng_state()
    while True:
        try:
            return train(session, splits)
        except Damaged as error:
            damaged = session.start
            if damaged is None:
                raise
            if session.config.ckpt not in (None, "last"):
                raise not_a_checkpoint(damaged.path, error) from None
            say(session.console, f"{damaged.path} is damaged: {error}; using the previous checkpoint")
            start, notes = find(session.folder, session.config, step_of(damaged.path))
            say(session.console, *notes)
            session = replace(session, start=start)
            torch.set_rng_state(random)  # the weights are drawn from it


def train(session: Session, splits: Splits) -> Fitted:
    """Train a model, in this process and those that train with it.

    Raises:
        Damaged: the file to continue from is not a checkpoint of this training.
    """
    config, start = session.config, session.start
    if start is not None:
        require_same(start.config, config, start.path)
    if session.writes:
        _describe(session)
    model = _initial(session)
    average = None if config.trainer.ema_decay is None else Averaged(model, config.trainer.ema_decay)
    if start is not None:
        require_form(start.state, model, average, config)
        if start.done:
            return fitted_before(session, model, splits)
    checkpoint = None if start is None else start.path
    with together(config.trainer, session.folder, checkpoint, config.plugins):
        return fit(session, model, average, splits)


def _describe(session: Session) -> None:
    """Write the config of the run, and remove outdated results of an earlier session."""
    folder, config = session.folder, session.config
    (folder / "metrics.json").unlink(missing_ok=True)
    raw = config.replace(folder=None, ckpt=None).model_dump(mode="json")
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120)
    write_file(folder / "config.yaml", f"# e3frame {__version__}\n{text}".encode())
    record(folder, config)
    if session.start is None:
        (folder / "metrics.csv").unlink(missing_ok=True)


def _initial(session: Session) -> Model:
    """Return the model before the first step: random weights, and those of a trained model to start from."""
    config, transfer = session.config, session.typed.transfer
    model = config.model.build().to(getattr(torch, config.trainer.weights))
    session.console.print(f"\n{model_line(model, config)}", highlight=False)
    if transfer is not None:
        lines = filter(None, (transfer.text, transfer.species(config.model)))
        session.console.print("\n".join(lines), highlight=False)
        apply(transfer, model, config.plugins)
    return model
