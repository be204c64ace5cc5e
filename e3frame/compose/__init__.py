"""Config groups, defaults and overrides, composed by Hydra into one mapping with the source of each value.

Importing this package imports Hydra; only entry points do.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from e3frame.compose.architecture import take_architecture
from e3frame.compose.files import config_folder, file_places, roots
from e3frame.compose.job import Job
from e3frame.compose.messages import blamed, plain_errors
from e3frame.compose.overrides import (
    choices,
    chooses,
    file_choice,
    fixed_overrides,
    from_overrides,
    groups,
    named_plugins,
    names_plugins,
    normalize_overrides,
    override_places,
    refuse_no_choice,
    require_readable,
    set_values,
    with_values,
)
from e3frame.compose.source import Repository
from e3frame.config.run import TypedRun, typed_run
from e3frame.files.sources import Sources
from e3frame.files.yaml_file import Composed, read_yaml, resolved
from e3frame.spec.errors import UserError

__all__ = [
    "Composed",
    "Composer",
    "choices",
    "compose_config",
    "compose_job",
    "config_folder",
    "file_choice",
    "fixed_overrides",
    "from_overrides",
    "load_run",
    "named_plugins",
    "normalize_overrides",
    "read_yaml",
    "typed_run",
    "with_values",
]


class Composer:
    """Composes many runs that differ in a few values. What they share is composed once.

    Args:
        common: overrides of all runs, as typed.
        config_dir: a folder with further config groups.
        plugins: plugins that the user named; None: those that the overrides name, all of which the user wrote.
    """

    def __init__(
        self, common: Sequence[str] = (), config_dir: str | None = None, plugins: Sequence[str] | None = None
    ) -> None:
        self.common, self.config_dir, self.plugins = list(common), config_dir, plugins
        self.groups = groups(config_dir)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Sources]] = {}

    def compose(self, overrides: Sequence[str] = ()) -> Composed:
        """The config of one run, equal to ``compose_config([*common, *overrides])``.

        Raises:
            SpecError, UserError: a group, an override or a file that is wrong.
        """
        named = named_plugins([*self.common, *overrides]) if self.plugins is None else self.plugins
        overrides = [override for override in overrides if not names_plugins(override)]
        values = [override for override in overrides if self.is_value(override)]
        base, placed = self._base(tuple(override for override in overrides if override not in values))
        config, sources = copy.deepcopy(base), Sources(dict(placed.places))
        set_values(config, sources, values, self.config_dir)
        take_architecture(config, sources, [*self.common, *overrides], named)
        with plain_errors(overrides):
            return Composed(resolved(config, sources), sources).with_plugins(named)

    def is_value(self, override: str) -> bool:
        """Whether an override sets a value; others choose a config of a group or remove a key."""
        key, equals, _ = override.partition("=")
        plain = override.removeprefix("++")
        return bool(equals) and key[0] != "~" and not key.startswith("hydra.") and not chooses(plain, self.groups)

    def _base(self, choices: tuple[str, ...]) -> tuple[DictConfig, Sources]:
        if choices not in self._bases:
            self._bases[choices] = _composed([*self.common, *choices], "config", self.config_dir)[:2]
        return self._bases[choices]


def compose_config(overrides: Sequence[str], config_name: str = "config", config_dir: str | None = None) -> Composed:
    """Compose ``configs/<config_name>.yaml`` with command-line overrides.

    Args:
        overrides: as typed. ``key=value`` may set keys that no file has (the spec knows which exist), and
            ``plugins=name`` allows to import a plugin.
        config_dir: a folder with further config groups.

    Raises:
        SpecError, UserError: a group, an override or a file that is wrong.
    """
    return _finished(*_composed(overrides, config_name, config_dir)[:2], overrides)


def compose_job(overrides: Sequence[str], config_dir: str | None = None) -> tuple[Composed, Job]:
    """Compose a run config, and what Hydra needs to run it; arguments and errors of :func:`compose_config`."""
    config, sources, hydra, loader = _composed(overrides, "config", config_dir)
    return _finished(config, sources, overrides), Job(config, hydra, loader)


def _finished(config: DictConfig, sources: Sources, overrides: Sequence[str]) -> Composed:
    named = named_plugins(overrides)
    take_architecture(config, sources, overrides, named)
    return Composed(resolved(config, sources), sources).with_plugins(named)


def _composed(
    overrides: Sequence[str], config_name: str, config_dir: str | None
) -> tuple[DictConfig, Sources, DictConfig, ConfigLoader]:
    """The config without Hydra's keys, where its values were written, and Hydra's keys with what loaded them."""
    given = [override for override in overrides if override and not names_plugins(override)]
    require_readable(given)
    known = groups(config_dir)
    refuse_no_choice(given, config_dir)
    values = [override for override in given if not chooses(override, known)]
    search = next((text for text in given if re.match(r"[+~]*sweep[=.]", text)), None)
    if search is not None and config_name != "sweep":
        raise UserError(f"command-line override {search}\n  only e3frame sweep runs a search")
    with _initialized(config_dir) as loader:
        written = override_places(values)
        hydra_overrides = normalize_overrides(given, config_dir)
        with plain_errors(given):
            try:
                config = compose(config_name, overrides=hydra_overrides, return_hydra_config=True)
            except (MissingConfigException, OverrideParseException):
                raise
            except (ConfigCompositionException, OmegaConfBaseException) as error:
                raise blamed(error, config_name, given, hydra_overrides) from error
            files = loader.compute_defaults_list(config_name, hydra_overrides, RunMode.RUN).defaults
            sources = file_places(files, config_dir)
    sources.places.update(written.places)
    with open_dict(config):
        hydra = config.pop("hydra")
    return config, sources, hydra, loader


def load_run(overrides: Sequence[str], config_dir: str | None = None) -> TypedRun:
    """Compose a run config and check it as a whole.

    Raises:
        UserError: the first mistake, with its source.
    """
    return typed_run(compose_config(overrides, config_dir=config_dir))


@contextmanager
def _initialized(config_dir: str | None) -> Iterator[ConfigLoader]:
    """A config loader within which Hydra composes, also while ``hydra.main`` runs."""
    own = roots(config_dir)
    running = GlobalHydra.instance()
    previous = running.hydra
    running.clear()
    try:
        with initialize_config_dir(str(own[0].resolve()), version_base="1.3", job_name="train"):
            path = GlobalHydra.instance().config_loader().get_search_path()
            for extra in own[1:]:
                path.prepend("--config-dir", f"file://{extra.resolve()}", "schema")
            loader = ConfigLoaderImpl(config_search_path=path)
            # Hydra itself puts a caching repository there, which its annotation does not allow.
            loader.repository = Repository(loader.repository)  # type: ignore[assignment]
            GlobalHydra.instance().hydra.config_loader = loader  # type: ignore[union-attr]
            yield GlobalHydra.instance().config_loader()
    finally:
        running.hydra = previous
