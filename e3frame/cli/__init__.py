"""The ``e3frame`` command: one file for each verb, imported when the verb is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from e3frame.algebra.environment import check_environment
from e3frame.cli.output import failure, secure
from e3frame.spec.errors import UserError, did_you_mean
from e3frame.version import __version__

VERBS = {
    "check": "type-check a model file or a run config; needs no torch and no data",
    "train": "train a model: one run, or one for each point of a grid",
    "sweep": "search over hyperparameters with Optuna",
    "evaluate": "errors of a trained model on labelled frames",
    "predict": "predictions of a trained model for the structures of files",
    "convert": "a model of another program, such as mace-torch, as a model of e3frame",
    "layers": "kinds of layers; with a kind, its keys",
    "schema": "JSON Schema of a model file, for editors",
    "info": "versions, kernels and optional libraries; with a trained model, its inputs and outputs",
    "irreps": "terms of irreps, and tables of their tensor products",
    "draw": "pictures of tensor products, spherical harmonics and learning curves",
    "completion": "shell completion for bash, zsh and fish",
}
"""Each verb, which is a file of this folder, with what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. A user's mistake is one message on standard error and exit code 1."""
    return exit_code(_main, list(sys.argv[1:] if arguments is None else arguments))


def _main(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if given[0] in ("-V", "--version"):
        print(f"e3frame {__version__}")
        return 0
    if given[0] not in VERBS:
        print(f"e3frame: unknown command {given[0]}; {did_you_mean(given[0], VERBS, 'commands')}", file=sys.stderr)
        return 1
    return _verb(given[0], given[1:])


def _verb(name: str, words: list[str]) -> int:
    check_environment(plugins=any(word.startswith("plugins=") for word in words))
    code: int = import_module(f"e3frame.cli.{name}").main(words)
    return code


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Run one verb with its arguments; the scripts in scripts/ call this."""
    return exit_code(lambda words: _verb(verb, words), list(arguments))


def exit_code(call: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a verb and return its exit code; users' mistakes are messages, not tracebacks."""
    secure()
    try:
        code = _code(call, arguments)
        reason = failure()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "e3frame":
            raise
        print(_missing(error.name.partition(".")[0]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in ``e3frame --help | head -1``; the rest is dropped, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"{os.fsdecode(error.filename)}\n  {error.strerror or error}", file=sys.stderr)
        return 1
    if reason is not None:
        print(f"standard output cannot be written: {reason.strerror}", file=sys.stderr)
        return 1
    return code


def _code(call: Callable[[list[str]], int], arguments: list[str]) -> int:
    """The exit code of a verb, also if argparse ends it, as after ``--help``."""
    try:
        return call(arguments)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0


def _missing(package: str) -> str:
    """The message for a package that is not installed."""
    project = {"yaml": "pyyaml", "hydra": "hydra-core"}.get(package, package)
    return f"this command needs the package {package}, which is not installed\n  pip install {project}"


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {text}" for verb, text in VERBS.items())
    return f"usage: e3frame COMMAND ...\n\n{verbs}\n\ne3frame COMMAND --help shows examples, arguments and keys."
