"""``e3frame sweep``: a search over hyperparameters, checked as a whole before the first training."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from pathlib import Path

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import expanded
from e3frame.cli.tables import console
from e3frame.compose import Composer, compose_config, named_plugins, typed_run
from e3frame.config.run import RunConfig
from e3frame.spec.base import Spec
from e3frame.spec.errors import UserError
from e3frame.spec.plugins import load
from e3frame.sweep.launch import Launcher, threads, worker_command
from e3frame.sweep.points import check
from e3frame.sweep.spec import SweepSpec
from e3frame.sweep.storage import storage_errors
from e3frame.sweep.study import Search, open_search
from e3frame.sweep.table import ending, no_trial_complete

_EXAMPLES = """
    e3frame sweep sweep=sample                           a space of configs/sweep
    e3frame sweep sweep=sample sweep.trials=40           ... with other settings of the search
    e3frame sweep sweep=sample model=nequip              ... with other settings of all runs
    e3frame sweep --config-dir mine sweep=my_space       a space of your own: mine/sweep/my_space.yaml
"""
_NOTE = """Run the same command again to resume the search, or on another machine to join it (with a database in
sweep.storage).
For a grid: e3frame train -m optimizer.lr=1e-3,3e-3"""


class _Root(Spec):
    """Root of ``configs/sweep.yaml``."""

    sweep: SweepSpec
    """The search."""


def parser() -> Parser:
    parser = Parser("sweep", _EXAMPLES, words="overrides", groups=["sweep"], note=_NOTE)
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="sweep=NAME, sweep.KEY=VALUE, and overrides of all runs"
    )
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder with further config groups")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    spec, composer, base = _checked(expanded(options.overrides, options.config_dir), options.config_dir)
    if base.trainer.accelerator == "gpu":  # else every trial would fail in the same way
        from e3frame.training.processes import accelerator

        accelerator(base.trainer)
    search = open_search(spec, composer.compose().raw, (Path("runs") / spec.name).resolve())
    if options.worker is not None:
        return _work(search, options.worker, composer, base)
    return _lead(search, arguments)


def _checked(overrides: list[str], config_dir: str | None) -> tuple[SweepSpec, Composer, RunConfig]:
    """Check a search and its runs; return them."""
    own = [text for text in overrides if text.lstrip("+~").partition("=")[0].partition(".")[0] == "sweep"]
    if not any(text.startswith("sweep=") for text in own):
        names = sorted(path.stem for root in _folders(config_dir) for path in root.glob("*.yaml"))
        raise UserError(f"sweep=NAME is required\n  searches: {', '.join(names)}")
    typed = [text for text in overrides if text not in own]
    named = named_plugins(typed)
    load(named, named)  # which may have a sampler
    composed = compose_config(own, "sweep", config_dir)
    spec = composed.parse(_Root).sweep
    composer = Composer([*spec.overrides, *typed], config_dir, named)
    return spec, composer, check(spec, composed.sources, composer, typed_run)


def _folders(config_dir: str | None) -> list[Path]:
    from e3frame.compose import config_folder

    return [folder / "sweep" for folder in (config_folder(), *([Path(config_dir)] if config_dir else []))]


def _work(search: Search, parent: int, composer: Composer, base: RunConfig) -> int:
    from e3frame.sweep.worker import Worker

    share = threads(search.spec.workers)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        Worker(search, lambda overrides: typed_run(composer.compose(overrides)), base, share, parent).work()
    return 0


def _lead(search: Search, arguments: list[str]) -> int:
    from e3frame.sweep.report import write_report

    out = console(width=160)
    failure: UserError | None = None
    over = False
    with storage_errors(search.spec.storage):
        try:
            over = Launcher(search, worker_command(arguments), out).run()
        except UserError as error:
            failure = error
        trials = search.trials()
        complete = any(trial.outcome == "complete" for trial in trials)
        if complete:
            write_report(search, out, ["e3frame", "sweep", *arguments])
        if failure is None and over and not complete:
            failure = no_trial_complete(trials)
    if failure is not None:
        print(failure, file=sys.stderr)
        return 1
    if not over:
        out.print("stopped; run the same command again to resume the search")
        return 130
    if search.points is not None and search.used_up(trials):
        out.print(ending(trials, search.points.size))
    return 0
