"""Length, hardware and precision of the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from e3frame.spec.base import Spec, mistake
from e3frame.spec.errors import SpecError


class TrainerSpec(Spec):
    """Length, hardware and precision of the training. The first limit that is reached ends the run."""

    max_epochs: int | None = Field(default=100, ge=1)
    """Passes over the training frames; null: no limit."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps of the optimizer; null: no limit."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes of training and validation; null: no limit."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop when ``monitor`` has not improved for this many validations; null: never."""
    monitor: str = "val_loss"
    """Metric that chooses the best checkpoint and stops early: val_loss, or an error such as val_forces_mae."""
    check_val_every_n_epoch: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    dtype: Literal["float32", "float64", "bf16-mixed"] = "float32"
    """Precision of the model. bf16-mixed: float32 weights, matrix products in bfloat16 during training. Total energies
    are always summed in float64."""
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    """Decay per step of the exponential moving average of the weights; the average is validated, tested and saved.
    null: no average."""
    gradient_clip_val: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient over all weights; larger gradients are scaled down. null: no limit."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: a CUDA GPU if there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes per machine, one per GPU if GPUs are used. They share each batch: data.batch_size is the total."""
    num_nodes: int = Field(default=1, ge=1)
    """Machines; with several, srun or torchrun starts the processes."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads on the CPU; null: torch's choice, which is all cores unless OMP_NUM_THREADS says otherwise."""
    deterministic: bool = True
    """Use deterministic algorithms: the same seed gives the same result."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Minutes between checkpoints within an epoch; every epoch also starts with one."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints within an epoch; null: use checkpoint_minutes only."""
    progress_bar: bool = True
    """Show a progress bar if the output is a terminal."""

    @property
    def world(self) -> int:
        """Processes that train together."""
        return self.devices * self.num_nodes

    @property
    def weights(self) -> str:
        """Data type of the weights."""
        return "float32" if self.dtype == "bf16-mixed" else self.dtype

    def idle(self) -> Iterator[SpecError]:
        """Yield the options that have no effect, with paths from this spec."""
        patience, every = self.early_stopping_patience, self.check_val_every_n_epoch
        if self.max_epochs is not None and every > self.max_epochs:
            problem = f"the run ends after {self.max_epochs} epochs, before its first validation"
            yield SpecError(("check_val_every_n_epoch",), problem, "lower it; the last weights are always validated")
        elif patience is not None and self.max_epochs is not None and patience * every >= self.max_epochs:
            problem = f"the run ends after {self.max_epochs} epochs, before it could stop early"
            yield SpecError(("early_stopping_patience",), problem, "lower it, or raise trainer.max_epochs")

    @model_validator(mode="after")
    def _finite(self) -> TrainerSpec:
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise mistake("the training has no limit", "set max_epochs, max_steps or max_minutes")
        return self
