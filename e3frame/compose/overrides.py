"""Overrides of the command line: what they set, choose and name, in Hydra's grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from e3frame.compose.files import roots
from e3frame.compose.told import told
from e3frame.files.regular import with_home
from e3frame.files.sources import Sources
from e3frame.files.yaml_file import Composed, resolved
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.limits import DEPTH, TEXT

_FUNCTION = re.compile(r"(?<![\w'\"])gate\s*\(")


_HOME = re.compile(r"(?:^|(?<=[\[,]))~/[^,\]]*")
"""What the shell fills in at the beginning of a word alone."""


def require_readable(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that no parser should be given."""
    for text in overrides:
        depth = max(accumulate((char in "[{(") - (char in ")}]") for char in text), default=0)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UserError(f"command-line override {text}\n  it holds bytes that are not UTF-8")
        if len(text) > TEXT:
            raise UserError(f"command-line override {text[:60]}...\n  it has more than {TEXT:,} characters")
        if depth > DEPTH:
            raise UserError(f"command-line override {text[:60]}\n  more than {DEPTH} brackets are within each other")
        key = text.partition("=")[0].lstrip("+~")
        if not key or not key.isprintable() or any(not part for part in key.partition("@")[0].split(".")):
            raise UserError(f"command-line override {text}\n  a key is required before the =, such as optimizer.lr")


def named_plugins(overrides: Sequence[str]) -> tuple[str, ...]:
    """Plugins that the user names by ``plugins=a``, ``plugins=[a,b]`` or ``model.plugins=[a]``."""
    named: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key.lstrip("+") not in ("plugins", "model.plugins"):
            continue
        with told([text]):
            given = OverridesParser.create().parse_override(f"plugins={value}").value()
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise UserError(f"command-line override {text}\n  names of modules are required\n  plugins=[one,another]")
        named += given
    return tuple(named)


def names_plugins(override: str) -> bool:
    return override.lstrip("+").startswith("plugins=")


def from_overrides(overrides: Sequence[str]) -> Composed:
    """A config that is nothing but ``key=value`` arguments, for verbs without config files."""
    config = OmegaConf.create({})
    sources = Sources()
    parser = OverridesParser.create()
    require_readable(overrides)
    for text in overrides:
        if "=" not in text or text[0] in "~+":
            raise UserError(f"command-line argument {text}\n  key=value is required")
        with told([text]):
            value = parser.parse_override(normalized(text, set())).value()
        path = tuple(text.partition("=")[0].split("."))
        OmegaConf.update(config, ".".join(path), value, force_add=True)
        sources.add_override(path, text, value)
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    return Composed(raw, sources)


def normalize_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Overrides for Hydra: ``a.b=1`` also sets what no file mentions, and ``gate(...)`` is text.

    That every key exists is the spec's business, whose messages name the nearest key.
    """
    known = groups(config_dir)
    return [normalized(override, known) for override in overrides]


def fixed_overrides(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Those of a multirun that are the same in each of its runs, without Hydra's own.

    Raises:
        UserError: one of them cannot be read.
    """
    with told(overrides):
        parsed = OverridesParser.create().parse_overrides(normalize_overrides(overrides, config_dir))
    pairs = zip(overrides, parsed, strict=True)
    return [text for text, override in pairs if not override.is_sweep_override() and not text.startswith("hydra")]


def choices(config_dir: str | None) -> dict[str, list[str]]:
    """The configs of each group, those of the user's own folder among them."""
    found: dict[str, set[str]] = {}
    for root in roots(config_dir):
        for folder in filter(Path.is_dir, root.iterdir()):
            found.setdefault(folder.name, set()).update(path.stem for path in folder.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items()}


def file_choice(file: Path, config_dir: str | None) -> str:
    """The name by which Hydra finds a YAML file anywhere on the disk, as a choice of any group.

    It goes up from the folder of the group to the root of the file system, and down again, so that it is the same file
    from every folder of configs.
    """
    up = max(len(root.resolve().parts) for root in roots(config_dir))
    return "../" * (up + 1) + file.resolve().with_suffix("").relative_to(file.resolve().anchor).as_posix()


def with_values(composed: Composed, overrides: Sequence[str]) -> Composed:
    """A config with some values replaced.

    Raises:
        UserError: an override that cannot be read, or that chooses a config of a group or removes a key.
    """
    values = [override for override in overrides if not names_plugins(override)]
    for override in values:
        if override[0] == "~" or override.lstrip("+").partition("=")[0] in groups(None):
            problem = "a config that is whole already takes key=value alone: it has no groups to choose from"
            raise UserError(f"command-line override {override}\n  {problem}")
    config, sources = OmegaConf.create(composed.raw), Sources(dict(composed.sources.places))
    set_values(config, sources, values, None)
    return Composed(resolved(config, sources), sources).with_plugins(named_plugins(overrides))


def set_values(config: DictConfig, sources: Sources, overrides: Sequence[str], config_dir: str | None) -> None:
    """Put the values of overrides into a config, and note that they came from there."""
    require_readable(overrides)
    parser = OverridesParser.create()
    with told(overrides):
        for override in overrides:
            text = override.removeprefix("++")
            parsed = parser.parse_override(normalized(text, set()))
            OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
            sources.add_override(tuple(parsed.key_or_group.split(".")), text, parsed.value())


def groups(config_dir: str | None) -> set[str]:
    """Names of the groups of configs."""
    return set(choices(config_dir))


def normalized(override: str, known: set[str]) -> str:
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
    """Whether the override names a file of a group, and not a value."""
    key, _, value = override.lstrip("+~").partition("=")
    group = key.partition("@")[0]
    return ("/" in group or group in known) and not value.startswith("{")


def refuse_no_choice(overrides: Sequence[str], config_dir: str | None) -> None:
    """Hydra has no message for a group without a choice; ``experiment`` alone may be null."""
    known = choices(config_dir)
    for override in overrides:
        group, _, value = override.partition("=")
        if group in known and "," in value and value[:1] not in "[{":
            _refuse_sweep((group,), override, "-m runs once for each")
        if value in ("null", "") and group != "experiment" and group in known:
            problem = f"one config of the group is required, got {value or 'nothing'}"
            hint = f"configs there: {', '.join(known[group])}"
            raise SpecError((group,), problem, hint, source=f"command-line override {override}")


def override_places(values: Sequence[str]) -> Sources:
    """Where the values of overrides were written.

    Raises:
        UserError: an override that cannot be read, or one of several values.
    """
    sources = Sources()
    parser = OverridesParser.create()
    for text in values:
        if "=" not in text or text.startswith(("~", "hydra.")):
            continue
        with told(values):
            (parsed,) = parser.parse_overrides([normalized(text, set())])
        path = tuple(parsed.key_or_group.split("."))
        if parsed.is_sweep_override():
            value = text.partition("=")[2]
            _refuse_sweep(path, text, "-m runs once for each" + ("" if "(" in value else f"; [{value}] is a list"))
        sources.add_override(path, text, parsed.value())
    return sources


def _refuse_sweep(path: tuple[str, ...], override: str, hint: str) -> None:
    problem = f"one value is required, got {override.partition('=')[2]}"
    raise SpecError(path, problem, hint, source=f"command-line override {override}")
