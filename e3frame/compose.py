"""Hydra's groups, defaults and overrides become one raw mapping, of which each value's source is known.

Only entry points import this module, and with it Hydra.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from e3frame.config import TypedRun, typed_run
from e3frame.spec.errors import SpecError, UserError, did_you_mean
from e3frame.spec.files import Composed, read_text, read_yaml, resolved, yaml_error
from e3frame.spec.sources import Sources, shown_path

__all__ = [
    "Composed",
    "compose_config",
    "config_folder",
    "from_overrides",
    "load_run",
    "normalize_overrides",
    "read_yaml",
    "typed_run",
]

_FUNCTION = re.compile(r"(?<![\w'\"])gate\s*\(")


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

    def compose(self, overrides: Sequence[str] = ()) -> Composed:
        """The config of one run; the same as ``compose_config`` gives for ``common`` and ``overrides``.

        Raises:
            SpecError, UserError: a group, an override or a file that is wrong.
        """
        values = [override for override in overrides if self.is_value(override)]
        base, placed = self._base(tuple(override for override in overrides if override not in values))
        config, sources = copy.deepcopy(base), Sources(dict(placed.places))
        _set_values(config, sources, values, self.config_dir)
        with _told(overrides, self.config_dir):
            return Composed(resolved(config, sources), sources)

    def is_value(self, override: str) -> bool:
        """Whether the override sets a value, and neither chooses a group nor removes a key."""
        key, equals, _ = override.partition("=")
        plain = override.removeprefix("++")
        return bool(equals) and key[0] != "~" and not key.startswith("hydra.") and not _chooses(plain, self.groups)

    def _base(self, choices: tuple[str, ...]) -> tuple[DictConfig, Sources]:
        if choices not in self._bases:
            self._bases[choices] = _composed([*self.common, *choices], "config", self.config_dir)
        return self._bases[choices]


def compose_config(overrides: Sequence[str], config_name: str = "config", config_dir: str | None = None) -> Composed:
    """Compose ``configs/<config_name>.yaml`` with command-line overrides.

    Args:
        overrides: as typed; ``key=value`` may set keys that no file mentions (the spec knows which exist).
        config_dir: a folder of the user's with further group files.

    Raises:
        SpecError, UserError: a group, an override or a file that is wrong.
    """
    config, sources = _composed(overrides, config_name, config_dir)
    return Composed(resolved(config, sources), sources)


def _composed(overrides: Sequence[str], config_name: str, config_dir: str | None) -> tuple[DictConfig, Sources]:
    given = [override for override in overrides if override]
    groups = _groups(config_dir)
    _refuse_no_choice(given, config_dir)
    values = [override for override in given if not _chooses(override, groups)]
    search = next((text for text in given if re.match(r"[+~]*sweep[=.]", text)), None)
    if search is not None and config_name != "sweep":
        raise UserError(f"command-line override {search}\n  a search is run by e3frame sweep")
    with _initialized(config_dir) as loader:
        written = _override_places(values)
        hydra_overrides = normalize_overrides(given, config_dir)
        with _told(given, config_dir):
            try:
                config = compose(config_name, overrides=hydra_overrides)
            except (MissingConfigException, OverrideParseException):
                raise
            except (ConfigCompositionException, OmegaConfBaseException) as error:
                raise _refused(error, config_name, given, hydra_overrides) from error
            files = loader.compute_defaults_list(config_name, hydra_overrides, RunMode.RUN).defaults
            sources = _file_places(files, config_dir)
    sources.places.update(written.places)
    return config, sources


def from_overrides(overrides: Sequence[str]) -> Composed:
    """A config that is nothing but ``key=value`` arguments, for verbs without config files."""
    config = OmegaConf.create({})
    sources = Sources()
    parser = OverridesParser.create()
    for text in overrides:
        if "=" not in text or text[0] in "~+":
            raise UserError(f"{text}\n  arguments are key=value")
        with _told([text], None):
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
    with _told(overrides, config_dir):
        parsed = OverridesParser.create().parse_overrides(normalize_overrides(overrides, config_dir))
    pairs = zip(overrides, parsed, strict=True)
    return [text for text, override in pairs if not override.is_sweep_override() and not text.startswith("hydra")]


def choices(config_dir: str | None) -> dict[str, list[str]]:
    """The configs of each group, those of the user's own folder among them."""
    found: dict[str, set[str]] = {}
    for root in _roots(config_dir):
        for folder in filter(Path.is_dir, root.iterdir()):
            found.setdefault(folder.name, set()).update(path.stem for path in folder.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items()}


def file_choice(file: Path, config_dir: str | None) -> str:
    """The name by which Hydra finds a YAML file anywhere on the disk, as a choice of any group.

    It goes up from the folder of the group to the root of the file system, and down again, so that it is the same file
    from every folder of configs.
    """
    up = max(len(root.resolve().parts) for root in _roots(config_dir))
    return "../" * (up + 1) + file.resolve().with_suffix("").relative_to(file.resolve().anchor).as_posix()


def with_values(composed: Composed, overrides: Sequence[str]) -> Composed:
    """A config with some values replaced.

    Raises:
        UserError: an override that cannot be read, or that chooses a config of a group or removes a key.
    """
    for override in overrides:
        if override[0] == "~" or override.lstrip("+").partition("=")[0] in _groups(None):
            problem = "a config that is whole already takes key=value alone: it has no groups to choose from"
            raise UserError(f"command-line override {override}\n  {problem}")
    config, sources = OmegaConf.create(composed.raw), Sources(dict(composed.sources.places))
    _set_values(config, sources, overrides, None)
    return Composed(resolved(config, sources), sources)


def _set_values(config: DictConfig, sources: Sources, overrides: Sequence[str], config_dir: str | None) -> None:
    parser = OverridesParser.create()
    with _told(overrides, config_dir):
        for override in overrides:
            text = override.removeprefix("++")
            parsed = parser.parse_override(_normalized(text, set()))
            OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
            sources.add_override(tuple(parsed.key_or_group.split(".")), text, parsed.value())


def _groups(config_dir: str | None) -> set[str]:
    return set(choices(config_dir))


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
    key, _, value = override.lstrip("+~").partition("=")
    group = key.partition("@")[0]
    return ("/" in group or group in groups) and not value.startswith("{")


def _refuse_no_choice(overrides: Sequence[str], config_dir: str | None) -> None:
    """Hydra has no message for a group without a choice; ``experiment`` alone may be null."""
    groups = choices(config_dir)
    for override in overrides:
        group, _, value = override.partition("=")
        if group in groups and "," in value and value[:1] not in "[{":
            _refuse_sweep((group,), override, "-m runs once for each")
        if value in ("null", "") and group != "experiment" and group in groups:
            problem = f"one config of the group is required, got {value or 'nothing'}"
            hint = f"configs there: {', '.join(groups[group])}"
            raise SpecError((group,), problem, hint, source=f"command-line override {override}")


def _roots(config_dir: str | None) -> list[Path]:
    roots = [config_folder()]
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
        roots.append(Path(config_dir))
    return roots


class _ReadOnce(CachingConfigRepository):
    """Config files that are read once for all that is asked of one loader, which would copy it, and read anew."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _ReadOnce:
        return self


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
            loader = ConfigLoaderImpl(config_search_path=path)
            loader.repository = _ReadOnce(loader.repository)
            GlobalHydra.instance().hydra.config_loader = loader  # type: ignore[union-attr]
            yield GlobalHydra.instance().config_loader()
    finally:
        running.hydra = previous


@contextmanager
def _told(overrides: Sequence[str], config_dir: str | None) -> Iterator[None]:
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
        raise yaml_error(error, None) from None
    except UnicodeDecodeError as error:
        for file in (file for root in _roots(config_dir) for file in sorted(root.glob("**/*.yaml"))):
            if error.object in file.read_bytes():
                read_text(file)
        raise
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, yaml.YAMLError):
            raise yaml_error(error.__cause__, None) from None
        raise UserError("the config cannot be composed\n  " + "\n  ".join(_lines(error))) from None


def _refused(error: Exception, config_name: str, given: Sequence[str], hydra_overrides: Sequence[str]) -> Exception:
    """The error with the override that is to blame: the one without which Hydra composes."""
    for number, override in enumerate(given):
        try:
            compose(config_name, overrides=[*hydra_overrides[:number], *hydra_overrides[number + 1 :]])
        except (HydraException, OmegaConfBaseException):
            continue
        key = override.lstrip("+~").partition("=")[0]
        source = f"command-line override {override}"
        problem, *more = _lines(error)
        if override.startswith("~") and problem.endswith("does not exist."):
            problem, more = "there is no such key to remove", []
        return SpecError(tuple(key.split(".")), problem, "\n".join(more), source=source)
    return error


def _lines(error: Exception) -> list[str]:
    """What Hydra says, without what is for its developers."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    lines = [line.strip().removeprefix("Could not delete from config. ") for line in str(cause).splitlines()]
    return [line for line in lines if line and not line.startswith(("object_type", "full_key"))]


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


def _file_places(files: Sequence[Any], config_dir: str | None) -> Sources:
    """Where the values of the composed files were written.

    Raises:
        UserError: a file of a group that is empty.
    """
    sources = Sources()
    for entry in files:
        found = [root / f"{entry.config_path}.yaml" for root in reversed(_roots(config_dir)) if entry.config_path]
        file = next(filter(Path.is_file, found), None)
        if file is None or entry.package == "hydra":
            continue
        package = tuple(entry.package.split(".")) if entry.package else ()
        if not sources.add_file(file, package) and package:
            raise UserError(f"{shown_path(file)}\n  a mapping is required at its top level, the file is empty")
    return sources


def _override_places(values: Sequence[str]) -> Sources:
    """Where the values of overrides were written.

    Raises:
        UserError: an override that cannot be read, or one of several values.
    """
    sources = Sources()
    parser = OverridesParser.create()
    for text in values:
        if "=" not in text or text.startswith(("~", "hydra.")):
            continue
        with _told(values, None):
            (parsed,) = parser.parse_overrides([_normalized(text, set())])
        path = tuple(parsed.key_or_group.split("."))
        if parsed.is_sweep_override():
            value = text.partition("=")[2]
            _refuse_sweep(path, text, "-m runs once for each" + ("" if "(" in value else f"; [{value}] is a list"))
        sources.add_override(path, text, parsed.value())
    return sources


def _refuse_sweep(path: tuple[str, ...], override: str, hint: str) -> None:
    problem = f"one value is required, got {override.partition('=')[2]}"
    raise SpecError(path, problem, hint, source=f"command-line override {override}")
