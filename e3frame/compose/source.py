"""Config files as Hydra reads them: within limits, and with the place of each mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from e3frame.files.sources import Sources, shown_path
from e3frame.files.yaml_text import load, read_text
from e3frame.spec.errors import PathKey, SpecError, UserError

_HEADER = re.compile(r"\s*#\s*@\s*package\b(.*)")
_PACKAGE = re.compile(r"_global_|_group_|[^\W\d]\w*(\.[^\W\d]\w*)*")
_GROUP = re.compile(r"(?:optional |override )*(?:/|(?:\.\./)+)?\w[\w./-]*(?:@[\w.:-]*)?")
_NAME = re.compile(r"[^\s\x00@$:]+(?:@[\w.:-]*)?|\?\?\?")
_EXAMPLE = "such as 'model: nequip', 'override /model: nequip' or _self_"


class BoundedSource(FileConfigSource):
    """A folder of config groups."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        name = shown_path(path)
        try:
            text = read_text(path, name)
        except OSError as error:
            raise UserError(f"{name}\n  {error.strerror or 'it cannot be read'}") from None
        raw = load(text, name)
        if not isinstance(raw, dict | None):
            raise UserError(f"{name}\n  a mapping is required at the top level")
        package = _package(text, name)
        if raw is not None and "defaults" in raw:
            sources = Sources()
            sources.add_file(path, text=text)
            try:
                _require_defaults(raw["defaults"])
            except SpecError as error:
                raise sources.place(error) from None
        try:
            config = OmegaConf.create(raw or {})
        except Exception:  # OmegaConf's own, and those of its grammar of ${...}
            raise UserError(f"{name}\n  this is not a config; is a ${{...}} in it wrong?") from None
        return ConfigResult(self.provider, f"file://{self.path}", config, {"package": package})


class Repository(CachingConfigRepository):
    """Config files, each read once by a loader; Hydra would copy the loader and read them again."""

    def __init__(self, delegate: ConfigRepository) -> None:
        super().__init__(delegate)
        assert isinstance(self.delegate, ConfigRepository)  # a copy of the one given
        sources = self.delegate.sources
        for number, source in enumerate(sources):
            if source.scheme() == "file":
                sources[number] = BoundedSource(source.provider, source.full_path())

    def __deepcopy__(self, memo: dict[int, Any]) -> Repository:
        return self


def _package(text: str, name: str) -> str | None:
    """The package in the header of a file, such as ``# @package _global_``: where its values go in the config."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return None
        header = _HEADER.match(line)
        if header is not None:
            package = header[1].strip()
            if not _PACKAGE.fullmatch(package):
                problem = f"one package is required, got {package or 'none'}"
                hint = "write # @package _global_, or remove this line"
                raise UserError(f"{name}:{number}:1\n  {problem}\n  {hint}")
            return package
    return None


def _require_defaults(defaults: Any) -> None:
    """Raise SpecError for a mistake in a defaults list."""
    if not isinstance(defaults, list):
        raise SpecError(("defaults",), "a list is required", f"its items are {_EXAMPLE}")
    for index, item in enumerate(defaults):
        path: PathKey = ("defaults", index)
        if isinstance(item, dict) and len(item) == 1:
            ((group, names),) = item.items()
            _require_name(path, group, _GROUP)
            path = (*path, group)
            for name in names if isinstance(names, list) else [] if names is None else [names]:
                _require_name(path, name, _NAME)
        else:
            _require_name(path, item, _NAME)


def _require_name(path: PathKey, name: Any, grammar: re.Pattern[str]) -> None:
    if not isinstance(name, str) or not grammar.fullmatch(name):
        raise SpecError(path, f"this is not an item of a defaults list: {name}", f"items are {_EXAMPLE}")
