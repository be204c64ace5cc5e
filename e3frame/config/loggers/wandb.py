"""``wandb``: Weights & Biases."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from e3frame.config.loggers.base import LoggerSpec

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class WandbSpec(LoggerSpec):
    """Weights & Biases. A resumed run continues the same run there."""

    kind: Literal["wandb"] = "wandb"
    packages = ("wandb",)
    project: str = "e3frame"
    """Project of the run."""
    entity: str | None = None
    """Team or user; null: the account that is logged in."""
    offline: bool = False
    """Keep everything in the run folder, for ``wandb sync``."""

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import WandbLogger

        own = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        return WandbLogger(
            folder.name,
            folder,
            id=own,
            resume="allow",
            project=self.project,
            entity=self.entity,
            offline=self.offline,
        )
