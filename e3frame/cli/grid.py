"""``e3frame train -m``: Hydra's grid, whose points are all type-checked before the first is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3frame.compose import Composer, compose_config, fixed_overrides, load_run, normalize_overrides, typed_run
from e3frame.config.run import TypedRun
from e3frame.spec.errors import UserError, did_you_mean
from e3frame.spec.words import rounded
from e3frame.sweep.points import grid_message

Plugins.instance()  # executes the modules of Hydra's own plugins anew: their classes are those from after it
from hydra._internal.core_plugins import basic_sweeper  # noqa: E402
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf  # noqa: E402

_MODULE = "hydra_plugins.e3frame"
"""Second name of this module: Hydra loads plugins only from the package hydra_plugins."""
ILL_TYPED = ("refuse", "skip")


@dataclass
class Points:
    """Trains the points of a grid; Hydra calls it once for each.

    In this process a point is trained as the sweeper has checked it. In another one, which a launcher may have started
    on another machine, it is composed and checked there.

    Attributes:
        config_dir: a folder of the user's with further group files.
        checked: runs by their overrides.
        failed: whether one of them failed in this process.
    """

    config_dir: str | None
    checked: dict[tuple[str, ...], TypedRun] = field(default_factory=dict)
    failed: bool = False

    def __call__(self, _: DictConfig) -> None:
        from e3frame.run.resume import Finished
        from e3frame.run.training import run

        job = HydraConfig.get()
        overrides, folder = tuple(job.overrides.task), Path(job.runtime.output_dir)
        try:
            typed = self.checked.pop(overrides, None) or load_run(overrides, self.config_dir)
            run(typed, folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
        except Finished as finished:
            print(finished)
        except UserError as error:
            self.failed = True
            print(error, file=sys.stderr)

    def __getstate__(self) -> dict[str, Any]:
        return {"config_dir": self.config_dir, "checked": {}, "failed": False}


@dataclass
class CheckedSweeperConf(BasicSweeperConf):
    """Keys of ``hydra.sweeper``."""

    _target_: str = f"{_MODULE}.CheckedSweeper"
    ill_typed: str = "refuse"
    """refuse: run nothing if any point is ill-typed; skip: run the others."""
    config_dir: str | None = None


class CheckedSweeper(BasicSweeper):
    """Hydra's basic sweeper, all combinations of the values, without the ill-typed points."""

    def __init__(self, ill_typed: Literal["refuse", "skip"], config_dir: str | None, **basic: Any) -> None:
        # Not by super(): Hydra may have executed the base class's module anew since this class was made.
        vars(self).update(vars(basic_sweeper.BasicSweeper(**basic)))
        if ill_typed not in ILL_TYPED:
            hint = did_you_mean(ill_typed, ILL_TYPED)
            _end(f"hydra.sweeper.ill_typed\n  must be one of {', '.join(ILL_TYPED)}; got {ill_typed}\n  {hint}")
        self.ill_typed, self.composer = ill_typed, Composer((), config_dir)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.checked = task_function.checked if isinstance(task_function, Points) else {}

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """The points to run, in batches."""
        (points,) = BasicSweeper.split_arguments(overrides, None)
        refused = [(point, error) for point in points if (error := self._mistake(point)) is not None]
        if refused:
            varied = {override.get_key_element() for override in overrides if override.is_sweep_override()}
            shown = [([text for text in point if text.partition("=")[0] in varied], error) for point, error in refused]
            message = "\n".join(grid_message(shown, len(points)))
            if self.ill_typed == "refuse" or len(refused) == len(points):
                hint = "" if len(refused) == len(points) else "\n\nset hydra.sweeper.ill_typed=skip to run the others"
                _end(message + hint)
            print(f"{message}\n\nrunning the others", file=sys.stderr)
        wrong = [point for point, _ in refused]
        good = [point for point in points if point not in wrong]
        return list(BasicSweeper.split_overrides_to_chunks(good, max_batch_size))

    def sweep(self, arguments: list[str]) -> Any:
        """Run the points, then print their errors side by side."""
        done = BasicSweeper.sweep(self, arguments)
        jobs = [job for batch in done for job in batch]
        if len(jobs) > 1:
            console = Console()
            console = console if console.is_terminal else Console(width=120)
            folders = [Path(job.hydra_cfg.hydra.runtime.output_dir) for job in jobs]
            console.print("", comparison(folders, [job.overrides for job in jobs]), sep="\n")
        return done

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: each point has been composed already."""

    def _mistake(self, point: Sequence[str]) -> UserError | None:
        overrides = tuple(text for text in point if not text.startswith("hydra"))
        try:
            self.checked[overrides] = typed_run(self.composer.compose(overrides))
        except UserError as error:
            return error
        return None


CheckedSweeper.__module__ = _MODULE


def comparison(folders: Sequence[Path], overrides: Sequence[Sequence[str]]) -> Table:
    """A row for each run of a grid: its folder, the overrides in which it differs from others, and the MAE of each
    target on the test frames, or without such on the validation frames."""
    found = [_metrics(folder) for folder in folders]
    split = "test" if any("test" in metrics for metrics in found) else "val"
    errors = [metrics.get(split, {}) for metrics in found]
    targets = {name: each for row in errors for name, each in row.items() if isinstance(each, dict) and "mae" in each}
    shared = set.intersection(*map(set, overrides))
    table = Table(title=f"MAE on the {split} frames", title_justify="left", box=None, pad_edge=False)
    table.add_column("run")
    table.add_column("overrides")
    for name, each in targets.items():
        table.add_column(Text(f"{name} ({each['unit']})" if each["unit"] else name), justify="right")
    for folder, given, row in zip(folders, overrides, errors, strict=True):
        own = " ".join(text.lstrip("+") for text in given if text not in shared)
        cells = [rounded(row[name]["mae"], 4) if name in row else "" for name in targets]
        table.add_row(Text(folder.name), Text(own), *(cells if row else ["no result"]))
    return table


def _metrics(folder: Path) -> dict[str, Any]:
    """The errors of a run; empty if it has not finished."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _stand_in_for_a_plugin() -> None:
    try:
        namespace = import_module("hydra_plugins")
    except ImportError:  # where no plugin is installed
        namespace = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    setattr(namespace, _MODULE.rpartition(".")[2], sys.modules[__name__])
    sys.modules[_MODULE] = sys.modules[__name__]
    Plugins.instance().register(CheckedSweeper)


def _end(message: str) -> None:
    """Print a message and exit; Hydra would wrap any other exception."""
    print(message, file=sys.stderr)
    raise SystemExit(1)


def checked(overrides: Sequence[str], config_dir: str | None) -> list[str]:
    """The overrides of a grid for Hydra, with this sweeper selected unless they choose another.

    Raises:
        UserError: the overrides shared by all points cannot be composed.
    """
    given = normalize_overrides(overrides, config_dir)
    compose_config(fixed_overrides(overrides, config_dir), config_dir=config_dir)
    _stand_in_for_a_plugin()
    ConfigStore.instance().store(
        group="hydra/sweeper", name="checked", node=CheckedSweeperConf(config_dir=config_dir), provider="e3frame"
    )
    chosen = any(text.startswith("hydra/sweeper=") for text in given)
    return given if chosen else ["hydra/sweeper=checked", *given]
