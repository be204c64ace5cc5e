"""Hydra's groups, defaults and overrides become one raw mapping, of which each value's source is known.

Only entry points import this module, and with it Hydra.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from e3frame.config import RunConfig, TypedRun
from e3frame.spec.base import Spec
from e3frame.spec.errors import SpecError, UserError, did_you_mean
from e3frame.spec.sources import Sources
from e3frame.spec.validate import SpecErrors, validate

S = TypeVar("S", bound=Spec)

_FUNCTION = re.compile(r"(?<![\w'\"])gate\s*\(")


@dataclass(frozen=True)
class Composed:
    """A composed config, not validated yet."""

    raw: dict[str, Any]
    sources: Sources

    def parse(self, cls: type[S], check: Callable[[S], Any] | None = None) -> S:
        """The config as a spec.

        Args:
            cls: type of the whole config.
            check: what else must go well, such as the type check of the model.

        Raises:
            SpecError: the mistake that stands first, with its source.
        """
        try:
            spec = validate(cls, self.raw)
            if check is not None:
                check(spec)
        except SpecErrors as errors:
            first = min(map(self._hinted, errors.errors), key=self.sources.order)
            raise self.sources.place(first) from None
        except SpecError as error:
            raise self.sources.place(error) from None
        return spec

    def _hinted(self, error: SpecError) -> SpecError:
        """An unknown key of the root may be meant for one of the groups: ``path`` for ``data.path``."""
        if not (error.at_key and len(error.path) == 1):
            return error
        name = error.path[0]
        inside = [f"{group}.{name}" for group, value in self.raw.items() if isinstance(value, dict) and name in value]
        hint = f"did you mean {' or '.join(inside)}?" if inside else error.hint
        return SpecError(error.path, error.problem, hint, at_key=True)


def config_folder() -> Path:
    """The configs: inside an installed package, else beside the package in a checkout."""
    package = Path(__file__).parent
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


class Composer:
    """Composes many runs that differ in a few values; what they share is composed once.

    Args:
        common: overrides of all of them, as typed.
        config_dir: a folder of the user's with further group files.
    """

    def __init__(self, common: Sequence[str] = (), config_dir: str | None = None) -> None:
        self.common, self.config_dir = list(common), config_dir
        self.groups = _groups(config_dir)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Sources]] = {}
        self._parser = OverridesParser.create()

    def compose(self, overrides: Sequence[str] = ()) -> Composed:
        """The config of one run; the same as ``compose_config`` gives for ``common`` and ``overrides``.

        Raises:
            SpecError, UserError: a group, an override or a file that is wrong.
        """
        values = [override for override in overrides if self.is_value(override)]
        base, placed = self._base(tuple(override for override in overrides if override not in values))
        config, sources = copy.deepcopy(base), Sources(dict(placed.places))
        with _told(overrides):
            for override in values:
                text = override.removeprefix("++")
                parsed = self._parser.parse_override(_normalized(text, set()))
                OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
                sources.add_override(tuple(parsed.key_or_group.split(".")), text, parsed.value())
            return Composed(OmegaConf.to_container(config, resolve=True), sources)

    def is_value(self, override: str) -> bool:
        """Whether the override sets a value, and neither chooses a group nor removes a key."""
        key, equals, _ = override.partition("=")
        plain = override.removeprefix("++")
        return bool(equals) and key[0] != "~" and not key.startswith("hydra.") and not _chooses(plain, self.groups)

    def _base(self, choices: tuple[str, ...]) -> tuple[DictConfig, Sources]:
        if choices not in self._bases:
            self._bases[choices] = _composed([*self.common, *choices], "config", self.config_dir)
        return self._bases[choices]


def read_yaml(file: str | Path) -> Composed:
    """A single YAML file as a config.

    Raises:
        UserError: the file cannot be read, or is no YAML mapping.
    """
    path = Path(file)
    try:
        raw = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except OSError as error:
        hint = "a model file is needed, or overrides such as model=nequip"
        raise UserError(f"{path}\n  {error.strerror or 'cannot be read'}\n  {hint}") from None
    except yaml.YAMLError as error:
        raise _yaml_error(error, path) from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}\n  {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}\n  a mapping is required at its top level")
    sources = Sources()
    sources.add_file(path)
    return Composed(raw, sources)


def compose_config(overrides: Sequence[str], config_name: str = "config", config_dir: str | None = None) -> Composed:
    """Compose ``configs/<config_name>.yaml`` with command-line overrides.

    Args:
        overrides: as typed; ``key=value`` may set keys that no file mentions (the spec knows which exist).
        config_dir: a folder of the user's with further group files.

    Raises:
        SpecError, UserError: a group, an override or a file that is wrong.
    """
    config, sources = _composed(overrides, config_name, config_dir)
    with _told(overrides):
        raw = OmegaConf.to_container(config, resolve=True)
    return Composed(raw, sources)


def _composed(overrides: Sequence[str], config_name: str, config_dir: str | None) -> tuple[DictConfig, Sources]:
    given = [override for override in overrides if override]
    search = next((text for text in given if re.match(r"[+~]*sweep[=.]", text)), None)
    if search is not None and config_name != "sweep":
        raise UserError(f"command-line override {search}\n  a search is run by e3frame sweep")
    with _initialized(config_dir) as loader:
        hydra_overrides = normalize_overrides(given, config_dir)
        with _told(given):
            config = compose(config_name, overrides=hydra_overrides)
            files = loader.compute_defaults_list(config_name, hydra_overrides, RunMode.RUN).defaults
        values = [override for override in given if not _chooses(override, _groups(config_dir))]
        return config, _sources(loader, files, values)


def from_overrides(overrides: Sequence[str]) -> Composed:
    """A config that is nothing but ``key=value`` arguments, for verbs without config files."""
    config = OmegaConf.create({})
    sources = Sources()
    parser = OverridesParser.create()
    for text in overrides:
        if "=" not in text or text[0] in "~+":
            raise UserError(f"{text}\n  arguments are key=value")
        with _told([text]):
            value = parser.parse_override(f"++{text}").value()
        path = tuple(text.partition("=")[0].split("."))
        OmegaConf.update(config, ".".join(path), value, force_add=True)
        sources.add_override(path, text, value)
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    return Composed(raw, sources)


def load_run(overrides: Sequence[str], config_dir: str | None = None) -> TypedRun:
    """The run config of some overrides, checked as a whole.

    Raises:
        UserError: the mistake that stands first, with its source.
    """
    return typed_run(compose_config(overrides, config_dir=config_dir))


def typed_run(composed: Composed) -> TypedRun:
    """A whole run config, checked; its warnings have their sources.

    Raises:
        SpecError: the mistake that stands first, with its source.
    """
    checked: list[TypedRun] = []
    composed.parse(RunConfig, lambda config: checked.append(config.typed()))
    return replace(checked[0], warnings=tuple(map(composed.sources.place, checked[0].warnings)))


def normalize_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Overrides for Hydra: ``a.b=1`` also sets what no file mentions, and ``gate(...)`` is text.

    That every key exists is the spec's business, whose messages name the nearest key.
    """
    groups = _groups(config_dir)
    return [_normalized(override, groups) for override in overrides]


def fixed_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Those of a multirun that are the same in each of its runs, without Hydra's own.

    Raises:
        UserError: one of them cannot be read.
    """
    with _told(overrides):
        parsed = OverridesParser.create().parse_overrides(normalize_overrides(overrides, config_dir))
    pairs = zip(overrides, parsed, strict=True)
    return [text for text, override in pairs if not override.is_sweep_override() and not text.startswith("hydra")]


def _groups(config_dir: str | None) -> set[str]:
    return {path.name for root in _roots(config_dir) for path in root.iterdir() if path.is_dir()}


def _normalized(override: str, groups: set[str]) -> str:
    key, equals, value = override.partition("=")
    if not equals or key.startswith(("~", "hydra.", "hydra/")):
        return override
    if _FUNCTION.search(value) and value[:1] not in "'\"[{":
        value = f'"{value}"'
    if key.startswith("+") or _chooses(override, groups):
        return f"{key}={value}"
    return f"++{key}={value}"


def _chooses(override: str, groups: set[str]) -> bool:
    """Whether the override names a file of a group, and not a value."""
    group = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return "/" in group or group in groups


def _roots(config_dir: str | None) -> list[Path]:
    roots = [config_folder()]
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
        roots.append(Path(config_dir))
    return roots


@contextmanager
def _initialized(config_dir: str | None) -> Iterator[ConfigLoader]:
    """A config loader: that of a running ``hydra.main``, else one of our own."""
    roots = _roots(config_dir)
    running = GlobalHydra.instance()
    previous = running.hydra
    running.clear()
    try:
        with initialize_config_dir(str(roots[0].resolve()), version_base="1.3", job_name="e3frame"):
            path = GlobalHydra.instance().config_loader().get_search_path()
            for extra in roots[1:]:
                path.prepend("--config-dir", f"file://{extra.resolve()}", "schema")
            GlobalHydra.instance().hydra.config_loader = ConfigLoaderImpl(config_search_path=path)  # type: ignore[union-attr]
            yield GlobalHydra.instance().config_loader()
    finally:
        running.hydra = previous


@contextmanager
def _told(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra's, OmegaConf's and YAML's errors in the words of ours."""
    try:
        yield
    except MissingConfigException as error:
        raise _missing_config(error, overrides) from None
    except OverrideParseException as error:
        given = next((o for o in overrides if o.partition("=")[2] and error.override.endswith(o)), error.override)
        hint = "quote what holds any of ()[]{},:= in it: 'key=\"value\"'"
        raise UserError(f"command-line override {given}\n  it cannot be read\n  {hint}") from None
    except yaml.YAMLError as error:
        raise _yaml_error(error, None) from None
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException | yaml.YAMLError) else error
        if isinstance(cause, yaml.YAMLError):
            raise _yaml_error(cause, None) from None
        lines = [line.strip() for line in str(cause).splitlines() if "object_type" not in line]
        raise UserError("the config cannot be composed\n  " + "\n  ".join(filter(None, lines))) from None


def _missing_config(error: MissingConfigException, overrides: Sequence[str]) -> UserError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return UserError(f"there is no config called {name}")
    typed = next((o for o in overrides if o.lstrip("+").startswith(f"{group}=")), None)
    source = f"command-line override {typed}" if typed else "defaults list"
    return SpecError(
        (group,), f"there is no {group} config called {name}", _config_hint(name, error.options), source=source
    )


def _config_hint(name: str, options: Sequence[str] | None) -> str:
    if name.endswith((".yaml", ".yml")):
        return "name a config without its folder and .yaml; --config-dir adds a folder of your own"
    return did_you_mean(name, options or [], "configs there")


def _yaml_error(error: yaml.YAMLError, file: Path | None) -> UserError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    name = str(file or (mark.name if mark else "a config"))
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return UserError(f"{place}\n  this is not YAML: {problem}")


def _sources(loader: ConfigLoader, files: Sequence[Any], overrides: Sequence[str]) -> Sources:
    sources = Sources()
    for entry in files:
        if entry.config_path is None or entry.config_path.startswith("hydra/") or entry.package == "hydra":
            continue
        loaded = loader.repository.load_config(entry.config_path)  # type: ignore[attr-defined]
        if loaded is None or not loaded.path.startswith("file://"):
            continue
        file = Path(loaded.path.removeprefix("file://")) / f"{entry.config_path}.yaml"
        sources.add_file(file, tuple(entry.package.split(".")) if entry.package else ())
    parser = OverridesParser.create()
    for text in overrides:
        if "=" not in text or text.startswith(("~", "hydra.")):
            continue
        parsed = parser.parse_override(_normalized(text, set()))
        value = None if parsed.is_sweep_override() else parsed.value()
        sources.add_override(tuple(parsed.key_or_group.split(".")), text, value)
    return sources
