"""Check, build and train from Python: what the verbs of the command line do, for scripts and notebooks.

Each function takes a model or a run in any form that is at hand, and any key of it as a keyword:

- the name of a preset, ``"nequip"``;
- a YAML file, or the folder of a run, ``"mine.yaml"`` or ``"runs/mine"``;
- YAML text, or a mapping;
- a list of overrides as on the command line, ``["model=nequip", "data=train.xyz"]``.

Keys of the model need no ``model.``: ``r_max=4.0``, ``**{"layers.interactions.times": 2}``. Keys of a run have
their group: ``data="train.xyz"``, ``**{"trainer.max_epochs": 5}``.
"""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from e3frame.cli.shorthand import beginning, config_file, expanded
from e3frame.cli.tables import show_model
from e3frame.compose import choices, compose_config, config_folder, named_plugins, with_values
from e3frame.config.run import RunConfig, TypedRun, typed_run
from e3frame.files.sources import Sources
from e3frame.files.yaml_file import Composed, parse_yaml, read_yaml
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.base import shown
from e3frame.spec.errors import SpecError, UserError, did_you_mean
from e3frame.spec.statistics import Statistics

if TYPE_CHECKING:
    from e3frame.network import Model
    from e3frame.run.training import RunResult

What = str | os.PathLike[str] | Mapping[str, Any] | Sequence[str] | None


@dataclass(frozen=True, repr=False)
class Checked:
    """Result of :func:`check`; it prints as the table of ``e3frame check``.

    Attributes:
        model: the typed model: its layers with the irreps of each.
        run: the typed run, if a run was checked and not a model alone.
        warnings: what is allowed but probably not meant.
    """

    model: TypedModel
    run: TypedRun | None
    warnings: tuple[SpecError, ...]

    def __repr__(self) -> str:
        text = io.StringIO()
        species = None if self.run is None else self.run.config.data.known_species
        show_model(self.model, Console(file=text, width=120, force_jupyter=False), species)
        return text.getvalue() + "".join(f"warning: {warning}\n" for warning in self.warnings)


def check(what: What = None, /, **overrides: Any) -> Checked:
    """Type-check a model or a run, without torch and without data.

    >>> check("nequip", species=["H", "C", "O"]).model.num_parameters
    99968

    Args:
        what: a preset, YAML file or text, run folder, mapping, or list of overrides; None: the default run.
        overrides: keys of the model or of the run. With a key of the run, such as ``data``, a run is checked.

    Raises:
        UserError: the config is wrong; its text says where, and what to write instead.
    """
    with _in_python():
        given = _given(what, overrides)
        if not given.is_run:
            composed = given.model()
            typed = composed.typed(ModelSpec, ModelSpec.typed)
            return Checked(typed, None, typed.warnings)
        run = typed_run(given.run())
        return Checked(run.model, run, run.warnings)


def build(
    what: What, /, *, species: Sequence[str] | None = None, statistics: Statistics | None = None, **overrides: Any
) -> Model:
    """Build a model as a torch module, with freshly initialised weights.

    Args:
        what: a preset, YAML file or text, run folder, or mapping.
        species: chemical symbols that the model knows; required where the model says ``auto``.
        statistics: values of every other ``auto``. None: reference energies of zero, a scale of 1 and 1 neighbour
            per atom; training sets them from its data.
        overrides: keys of the model.

    Raises:
        UserError: the config is wrong, or the species are not known.
    """
    chosen = {} if species is None else {"species": list(species)}
    found = check(what, **overrides, **chosen)
    spec = found.model.spec
    if statistics is None:
        known = spec.species
        if known == "auto" and found.run is not None:
            known = found.run.config.data.known_species or "auto"
        if known == "auto":
            raise UserError("species\n  the model says auto, and there are no data\n  give species=['H', 'C', 'O']")
        neutral = dict.fromkeys(known, 0.0)
        statistics = Statistics(species=known, energy_shift=neutral, energy_scale=1.0, avg_num_neighbors=1.0)
    return spec.resolve(statistics).build()


def train(what: What = None, /, **overrides: Any) -> RunResult:
    """Train a model, as ``e3frame train`` does; results go to ``runs/<name>/<date and time>`` or to ``folder``.

    >>> result = train("nequip", data="train.xyz", **{"trainer.max_epochs": 5})  # doctest: +SKIP

    Args:
        what: a preset, YAML file or text, mapping, or list of overrides; the folder of a run resumes it.
        overrides: keys of the run and of its model.

    Returns:
        The folder of the run, the file of the trained model, and its errors on each split.

    Raises:
        UserError: the config, the data or the folder is wrong, or the training failed.
    """
    with _in_python():
        given = _given(what, overrides)
        typed = typed_run(given.run())
        from e3frame.run.resume import chosen_folder, new_folder
        from e3frame.run.training import run

        return run(typed, given.folder or chosen_folder(typed.config) or new_folder(typed.config.name))


@dataclass(frozen=True)
class _Given:
    """A config given in Python.

    Attributes:
        overrides: as on the command line.
        config: a model or a whole run, changed by the overrides; None: the default run.
        choice: the override that chooses this model for a run, if it is a file.
        folder: folder of the run to resume, if any.
    """

    overrides: list[str]
    config: Composed | None = None
    choice: str | None = None
    folder: Path | None = None

    @property
    def is_run(self) -> bool:
        keys = {_first(override) for override in self.overrides}
        return self.config is None or "model" in self.config.raw or bool(keys & _RUN_KEYS)

    def model(self) -> Composed:
        assert self.config is not None
        return with_values(self.config, self.overrides) if self.overrides else self.config

    def run(self) -> Composed:
        """The config of a run: the given one, or the default one with the given model."""
        own = [f"model.{each}" if _first(each) in _MODEL_KEYS else each for each in self.overrides]
        if self.config is not None and "model" in self.config.raw:
            return with_values(self.config, own) if own else self.config
        if self.config is None or self.choice is not None:
            return compose_config(expanded([*([self.choice] if self.choice else []), *own]))
        of_model = [each for each in own if each.startswith("model.")]
        composed = compose_config(expanded([each for each in own if each not in of_model]))
        places = {path: place for path, place in composed.sources.places.items() if path[:1] != ("model",)}
        places |= {("model", *path): place for path, place in self.config.sources.places.items()}
        whole = Composed({**composed.raw, "model": self.config.raw}, Sources(places))
        return with_values(whole.with_plugins(named_plugins(own)), of_model)


_MODEL_KEYS = set(ModelSpec.model_fields) - {"plugins"}
_RUN_KEYS = {*RunConfig.model_fields, "experiment"} - {"plugins"}  # which both have


def _first(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").partition(".")[0]


def _given(what: What, overrides: Mapping[str, Any]) -> _Given:
    groups = choices(None)
    words = [f"{key}={_written(value, bare=key in groups)}" for key, value in _files(overrides)]
    if what is None:
        return _Given(words)
    if isinstance(what, Mapping):
        return _Given(words, Composed(copy.deepcopy(dict(what)), Sources()))
    if not isinstance(what, str | os.PathLike | Sequence):
        raise TypeError(f"a name, a path, YAML text, a mapping or a list of overrides is required, got {what!r}")
    if not isinstance(what, str | os.PathLike):
        return _Given([*what, *words])
    text = os.fspath(what)
    if "\n" in text:
        return _Given(words, parse_yaml(text, "YAML text"))
    if "=" in text:
        return _Given([text, *words])
    start, _ = beginning([text])
    if start is None:
        start = _preset(text)
    composed = read_yaml(config_file(start))
    return _Given(words, composed, f"model={text}", start if start.is_dir() else None)


def _files(overrides: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The overrides; several files for ``data`` are the kind of the first one and a list of paths."""
    for key, value in overrides.items():
        several = key == "data" and isinstance(value, list | tuple) and value
        yield key, value[0] if several else value
        if several:
            yield "data.path", value


def _preset(name: str) -> Path:
    known = choices(None)["model"]
    if name not in known:
        raise UserError(f"no model is called {shown(name)}\n  {did_you_mean(name, known, 'presets')}")
    return config_folder() / "model" / f"{name}.yaml"


def _written(value: Any, bare: bool = False) -> str:
    """A value as Hydra's grammar has it; the choices of a group are names or files, which are not quoted."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return str(value) if bare else json.dumps(str(value), ensure_ascii=False)


@contextmanager
def _in_python() -> Iterator[None]:
    """An override is not called one of the command line where there is none."""
    try:
        yield
    except SpecError as error:
        source = error.source and error.source.removeprefix("command-line ")
        raise SpecError(error.path, error.problem, error.hint, source=source) from None
