"""``e3frame train``: Hydra composes the run, the type checker passes it, then it is trained."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from e3frame.compose import compose_config, config_folder, load_run, normalize_overrides, read_yaml, typed_run
from e3frame.spec.errors import SpecError, UserError


def main(arguments: list[str]) -> int:
    """Everything that Hydra's command line offers (--help, --cfg job, -m, ...), with mistakes told before torch."""
    if len(arguments) == 1 and arguments[0].endswith((".yaml", ".yml")):
        return _again(arguments[0])
    given = _hydra_arguments(arguments)
    if given.cfg:
        compose_config(given.overrides, config_dir=given.config_dir)
    elif not (given.help or given.hydra_help or given.info or given.multirun):
        _warn(load_run(given.overrides, given.config_dir).warnings)
    flags = [argument for argument in arguments if argument not in given.overrides]
    if given.multirun:
        from e3frame.cli.grid import checked

        overrides = checked(given.overrides, given.config_dir)
    else:
        overrides = normalize_overrides(given.overrides, given.config_dir)
    sys.argv = [sys.argv[0], *flags, *overrides]
    failures: list[UserError] = []

    def job(_: DictConfig) -> None:
        try:
            _train(given.config_dir)
        except UserError as error:
            failures.append(error)
            print(error, file=sys.stderr)

    hydra.main(version_base="1.3", config_path=str(config_folder().resolve()), config_name="config")(job)()
    return 1 if failures else 0


def _again(file: str) -> int:
    """A run from the config.yaml of another one."""
    typed = typed_run(read_yaml(file))
    _warn(typed.warnings)
    from e3frame.train.run import run

    run(typed.config, Path("runs") / typed.config.name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    return 0


def _warn(warnings: Sequence[SpecError]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _train(config_dir: str | None) -> None:
    runtime = HydraConfig.get()
    config = load_run(list(runtime.overrides.task), config_dir).config
    from e3frame.train.run import run

    run(config, runtime.runtime.output_dir)


def _hydra_arguments(arguments: Sequence[str]) -> Namespace:
    parser = get_args_parser()
    given, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        raise UserError(f"{unknown[0]} is no option\n  options are those of Hydra: --help, --cfg job, --config-dir, -m")
    return given
