"""Overrides of the command line, in Hydra's grammar: values, choices of groups, and plugins."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from e3frame.compose.files import roots
from e3frame.compose.messages import plain_errors
from e3frame.files.regular import with_home
from e3frame.files.sources import Sources
from e3frame.files.yaml_file import Composed, resolved
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.limits import DEPTH, TEXT

_FUNCTION = re.compile(r"(?<![\w'\"])gate\s*\(")
_HOME = re.compile(r"(?:^|(?<=[\[,]))~/[^,\]]*")
"""A home folder, which the shell fills in only at the beginning of a word."""


def require_readable(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that is beyond a limit or has no key."""
    for text in overrides:
        depth = max(accumulate((char in "[{(") - (char in ")}]") for char in text), default=0)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UserError(f"command-line override {text}\n  it has bytes that are not UTF-8")
        if len(text) > TEXT:
            raise UserError(f"command-line override {text[:60]}...\n  an override has at most {TEXT:,} characters")
        if depth > DEPTH:
            raise UserError(f"command-line override {text[:60]}\n  at most {DEPTH} brackets may be nested")
        key = text.partition("=")[0].lstrip("+~")
        if not key or not key.isprintable() or any(not part for part in key.partition("@")[0].split(".")):
            raise UserError(f"command-line override {text}\n  a key is required before the =, such as optimizer.lr")


def named_plugins(overrides: Sequence[str]) -> tuple[str, ...]:
    """Plugins named by ``plugins=a``, ``plugins=[a,b]`` or ``model.plugins=[a]``."""
    named: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key.lstrip("+") not in ("plugins", "model.plugins"):
            continue
        with plain_errors([text]):
            given = OverridesParser.create().parse_override(f"plugins={value}").value()
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise UserError(f"command-line override {text}\n  names of modules are required\n  plugins=[one,another]")
        named += given
    return tuple(named)


def names_plugins(override: str) -> bool:
    return override.lstrip("+").startswith("plugins=")


def from_overrides(overrides: Sequence[str]) -> Composed:
    """A config made of ``key=value`` arguments alone, for verbs without config files."""
    config = OmegaConf.create({})
    sources = Sources()
    parser = OverridesParser.create()
    require_readable(overrides)
    for text in overrides:
        if "=" not in text or text[0] in "~+":
            raise UserError(f"command-line argument {text}\n  key=value is required")
        with plain_errors([text]):
            value = parser.parse_override(normalized(text, set())).value()
        path = tuple(text.partition("=")[0].split("."))
        OmegaConf.update(config, ".".join(path), value, force_add=True)
        sources.add_override(path, text, value)
    return Composed(cast(dict[str, Any], OmegaConf.to_container(config)), sources)


def normalize_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Overrides as Hydra takes them: ``a.b=1`` also sets keys that no file has, and ``gate(...)`` is text.

    The spec checks that a key exists, because its messages name the nearest one.
    """
    known = groups(config_dir)
    return [normalized(override, known) for override in overrides]


def fixed_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """The overrides that are the same in each run of a grid, without those of ``hydra``.

    Raises:
        UserError: an override cannot be parsed.
    """
    with plain_errors(overrides):
        parsed = OverridesParser.create().parse_overrides(normalize_overrides(overrides, config_dir))
    pairs = zip(overrides, parsed, strict=True)
    return [text for text, override in pairs if not override.is_sweep_override() and not text.startswith("hydra")]


def choices(config_dir: str | None) -> dict[str, list[str]]:
    """The names of the configs of each group, the user's own included."""
    found: dict[str, set[str]] = {}
    for root in roots(config_dir):
        for folder in filter(Path.is_dir, root.iterdir()):
            found.setdefault(folder.name, set()).update(path.stem for path in folder.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items()}


def file_choice(file: Path, config_dir: str | None) -> str:
    """The choice of a group by which Hydra finds a YAML file anywhere on the disk.

    The path goes up to the root of the file system and down again, so that it is right for every folder of configs.
    """
    up = max(len(root.resolve().parts) for root in roots(config_dir))
    return "../" * (up + 1) + file.resolve().with_suffix("").relative_to(file.resolve().anchor).as_posix()


def with_values(composed: Composed, overrides: Sequence[str]) -> Composed:
    """A config with some values replaced.

    Raises:
        UserError: an override cannot be parsed, chooses a config of a group, or removes a key.
    """
    values = [override for override in overrides if not names_plugins(override)]
    for override in values:
        if override[0] == "~" or override.lstrip("+").partition("=")[0] in groups(None):
            problem = "a composed config has no groups to choose from; only key=value can change it"
            raise UserError(f"command-line override {override}\n  {problem}")
    config, sources = OmegaConf.create(composed.raw), Sources(dict(composed.sources.places))
    set_values(config, sources, values, None)
    return Composed(resolved(config, sources), sources).with_plugins(named_plugins(overrides))


def set_values(config: DictConfig, sources: Sources, overrides: Sequence[str], config_dir: str | None) -> None:
    """Put the values of overrides into a config, with the overrides as their places."""
    require_readable(overrides)
    parser = OverridesParser.create()
    with plain_errors(overrides):
        for override in overrides:
            text = override.removeprefix("++")
            parsed = parser.parse_override(normalized(text, set()))
            OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
            sources.add_override(tuple(parsed.key_or_group.split(".")), text, parsed.value())


def groups(config_dir: str | None) -> set[str]:
    """Names of the config groups."""
    return set(choices(config_dir))


def normalized(override: str, known: set[str]) -> str:
    """One override as Hydra takes it; ``known`` are the config groups."""
    key, equals, value = override.partition("=")
    if not equals or key.startswith(("~", "hydra.", "hydra/")):
        return override
    value = _HOME.sub(lambda found: json.dumps(str(with_home(found[0])), ensure_ascii=False), value)
    if _FUNCTION.search(value) and value[:1] not in "'\"[{":
        value = f'"{value}"'
    if key.startswith("+") or chooses(override, known):
        return f"{key}={value}"
    return f"++{key}={value}"


def chooses(override: str, known: set[str]) -> bool:
    """Whether the override chooses a config of a group; others set a value."""
    key, _, value = override.lstrip("+~").partition("=")
    group = key.partition("@")[0]
    return ("/" in group or group in known) and not value.startswith("{")


def refuse_no_choice(overrides: Sequence[str], config_dir: str | None) -> None:
    """Raise SpecError for a group without a choice, or with several; only ``experiment`` may be null."""
    known = choices(config_dir)
    for override in overrides:
        group, _, value = override.partition("=")
        if group in known and "," in value and value[:1] not in "[{":
            _refuse_sweep((group,), override, "use -m to run once per value")
        if value in ("null", "") and group != "experiment" and group in known:
            problem = f"choose one config of this group, got {value or 'nothing'}"
            hint = f"configs in {group}: {', '.join(known[group])}"
            raise SpecError((group,), problem, hint, source=f"command-line override {override}")


def override_places(values: Sequence[str]) -> Sources:
    """Where the values of overrides were written.

    Raises:
        UserError: an override cannot be parsed, or has several values.
    """
    sources = Sources()
    parser = OverridesParser.create()
    for text in values:
        if "=" not in text or text.startswith(("~", "hydra.")):
            continue
        with plain_errors(values):
            (parsed,) = parser.parse_overrides([normalized(text, set())])
        path = tuple(parsed.key_or_group.split("."))
        if parsed.is_sweep_override():
            value = text.partition("=")[2]
            _refuse_sweep(
                path, text, "use -m to run once per value" + ("" if "(" in value else f", or [{value}] for a list")
            )
        sources.add_override(path, text, parsed.value())
    return sources


def _refuse_sweep(path: tuple[str, ...], override: str, hint: str) -> None:
    problem = f"one value is required, got {override.partition('=')[2]}"
    raise SpecError(path, problem, hint, source=f"command-line override {override}")
