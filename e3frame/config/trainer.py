"""How long, on what and how carefully to train, as a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from e3frame.spec.base import Spec, mistake
from e3frame.spec.errors import SpecError


class TrainerSpec(Spec):
    """The run ends with the first of the limits that it reaches."""

    max_epochs: int | None = Field(default=100, ge=1)
    """Passes over the training frames; null: no limit."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps of the optimizer; null: no limit."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes of training and validation; null: no limit."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after this many validations in a row without improvement of ``monitor``; null: never."""
    monitor: str = "val_loss"
    """Decides which checkpoint is the best, and the early stopping: val_loss, or an error such as val_forces_mae."""
    check_val_every_n_epoch: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    dtype: Literal["float32", "float64", "bf16-mixed"] = "float32"
    """Precision of the model; bf16-mixed: float32, but products of matrices in bfloat16 while training. Total energies
    are summed in float64 in any case."""
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    """Decay per step of the running mean of the weights, which is what is validated, tested and saved; null: none."""
    gradient_clip_val: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of all weights together, in the unit of the loss; null: no limit."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: a CUDA GPU if there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes on each machine that share every batch, each with a GPU if those are used; data.batch_size is that of
    all together."""
    num_nodes: int = Field(default=1, ge=1)
    """Machines; with several, srun or torchrun starts the processes."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads on the CPU; null: torch's choice, which is all cores unless OMP_NUM_THREADS says otherwise."""
    deterministic: bool = True
    """Use deterministic algorithms, so that one seed gives one result."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Minutes from one checkpoint within an epoch to the next; each epoch begins with one anyway."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps from one checkpoint within an epoch to the next; null: by minutes alone."""
    progress_bar: bool = True
    """Show a progress bar where the output is a terminal."""

    @property
    def world(self) -> int:
        """Processes that train together."""
        return self.devices * self.num_nodes

    @property
    def weights(self) -> str:
        """dtype of the weights."""
        return "float32" if self.dtype == "bf16-mixed" else self.dtype

    def idle(self) -> Iterator[SpecError]:
        """Options that do nothing, with their paths from here."""
        patience, every = self.early_stopping_patience, self.check_val_every_n_epoch
        if self.max_epochs is not None and every > self.max_epochs:
            problem = f"the run ends after {self.max_epochs} epochs, before the first such validation"
            yield SpecError(("check_val_every_n_epoch",), problem, "give fewer; the last weights are validated anyway")
        elif patience is not None and self.max_epochs is not None and patience * every >= self.max_epochs:
            problem = f"the run ends after {self.max_epochs} epochs, before it could stop early"
            yield SpecError(("early_stopping_patience",), problem, "give less, or raise trainer.max_epochs")

    @model_validator(mode="after")
    def _finite(self) -> TrainerSpec:
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise mistake("the training has no end", "set max_epochs, max_steps or max_minutes")
        return self
