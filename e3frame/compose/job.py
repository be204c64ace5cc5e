"""A composed config that Hydra runs: in the folder, with the environment and the callbacks that Hydra's keys name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from e3frame.compose.messages import plain_errors


@dataclass(frozen=True)
class Job:
    """A config as Hydra composed it, with Hydra's keys beside it.

    Attributes:
        config: without Hydra's keys.
        hydra: Hydra's keys.
        loader: composed them.
    """

    config: DictConfig
    hydra: DictConfig
    loader: ConfigLoader

    def run(self, task: Callable[[Path], None], folder: Path | None = None) -> None:
        """Make a folder and call ``task`` with it, as ``hydra.main`` does for a config that it composes itself.

        Args:
            task: what it raises is raised here.
            folder: None: that of ``hydra.run.dir``.
        """
        config = self.config.copy()
        with open_dict(config):
            config.hydra = self.hydra
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.mode = "RUN"
            if folder is not None:
                config.hydra.run.dir = str(folder)
        with plain_errors([]):
            OmegaConf.select(config, "hydra.run.dir")
        raised: list[Exception] = []

        def call(_: DictConfig) -> None:
            try:
                task(Path(config.hydra.runtime.output_dir))
            except Exception as error:
                raised.append(error)
                raise

        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name="config")
        done = run_job(
            call,
            config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=HydraContext(self.loader, callbacks),
        )
        callbacks.on_run_end(config=config, config_name="config", job_return=done)
        if raised:  # Hydra's own way to raise it prints words of its own before
            raise raised[0]
