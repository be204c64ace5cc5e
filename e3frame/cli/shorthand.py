"""Short forms of arguments: files, run folders and names of configs instead of ``key=value``.

Hydra is imported only when it is needed; a file is checked without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os.path import isdir, isfile
from pathlib import Path

from e3frame.files.regular import with_home
from e3frame.files.yaml_file import Composed, read_yaml
from e3frame.spec.errors import SpecError, UserError, nearest

_YAML = (".yaml", ".yml")
_DATA_KINDS = {".db": "ase_db", ".npz": "npz"}
"""Kind of data by the ending of the file name; ASE (``xyz``) reads all others."""


def beginning(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split off a leading run folder or YAML file, as in ``runs/mine trainer.max_epochs=12``.

    Returns:
        The folder (for ``runs/<name>`` that of its newest run) or the file, or None; and the other arguments.

    Raises:
        FileError: the folder does not exist, or is not of a run.
    """
    from e3frame.config.model_paths import run_folder

    first = arguments[0] if arguments else ""
    path = with_home(first)
    if "=" in first or first[:1] in ("", "+") or (first[0] == "~" and path == Path(first)):
        return None, list(arguments)
    if isdir(path) or ("/" in first and not path.suffix):
        return run_folder(path), list(arguments[1:])
    return (path, list(arguments[1:])) if path.suffix in _YAML else (None, list(arguments))


def config_file(start: Path) -> Path:
    """The YAML file of a run folder; or the file itself.

    Raises:
        UserError: the folder has none.
    """
    file = start / "config.yaml" if start.is_dir() else start
    if start.is_dir() and not file.exists():
        raise UserError(f"{start}\n  this folder has no config.yaml, so it is not a run")
    return file


def read_run(start: Path, overrides: Sequence[str] = ()) -> Composed:
    """Read the config of a run, from its folder or config.yaml, and apply overrides.

    Raises:
        UserError: the file does not exist or is a model, or an override is wrong.
    """
    file = config_file(start)
    composed = read_yaml(file)
    if "layers" in composed.raw and "model" not in composed.raw:
        raise UserError(f"{file}\n  this is a model file, not a run config\n  write model={file} data=...")
    if not overrides:
        return composed
    from e3frame.compose import choices, with_values

    for text in overrides:
        if "=" not in text and text[0] != "~":
            raise _not_an_override(text, choices(None))
    return with_values(composed, overrides)


def named(words: Sequence[str], *keys: str) -> list[str]:
    """Add ``keys`` to words without one: ``runs/mine`` becomes ``model=runs/mine``.

    Raises:
        UserError: there are more words without a key than ``keys``.
    """
    keys = tuple(key for key in keys if not any(word.startswith(f"{key}=") for word in words))
    bare = [word for word in words if "=" not in word and word[:1] not in ("~", "-")]
    if len(bare) > len(keys):
        raise UserError(f"command-line argument {bare[len(keys)]}\n  key=value is required")
    names = dict(zip(bare, keys, strict=False))
    return [f"{names[word]}={word}" if word in names else word for word in words]


def expanded(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Overrides as Hydra takes them.

    ``model=./mine.yaml`` chooses a file by its path, ``data=md.xyz`` becomes ``data=xyz data.path=md.xyz``.
    Values of a grid, as in ``model=a.yaml,b.yaml``, are treated alike.

    Raises:
        UserError: a file does not exist, or a word is not an override.
    """
    from e3frame.compose import choices

    configs = choices(config_dir)
    return [form for text in overrides for form in _forms(text, configs, config_dir)]


def _forms(text: str, configs: Mapping[str, Sequence[str]], config_dir: str | None) -> list[str]:
    key, equals, value = text.partition("=")
    if not equals and text[:1] != "~":
        raise _not_an_override(text, configs)
    group = key.lstrip("+")
    if group not in configs or value[:1] in ("[", "{", "'", '"'):
        return [text]
    files = [part for part in value.split(",") if _looks_like_a_file(part)]
    if not files:
        return [text]
    if all(part.endswith(_YAML) for part in files):
        for part in files:
            _require_file(group, part, text, configs)
        from e3frame.compose import file_choice

        parts = (_quoted(file_choice(_path(p), config_dir)) if p in files else p for p in value.split(","))
        return [f"{key}={','.join(parts)}"]
    if group != "data":
        raise _mistaken(group, text, f"expected a YAML file or the name of a config, got {files[0]}", configs)
    kinds = {_DATA_KINDS.get(Path(part).suffix, "xyz") for part in value.split(",")}
    if len(kinds) > 1:
        raise SpecError(
            ("data",), f"all files must be of one kind, got {value}", source=f"command-line override {text}"
        )
    return [f"data={kinds.pop()}", f"data.path={','.join(map(_quoted, value.split(',')))}"]


def _looks_like_a_file(value: str) -> bool:
    return bool(Path(value).suffix) or "/" in value


def _path(value: str) -> Path:
    return with_home(value)


def _require_file(group: str, value: str, text: str, configs: Mapping[str, Sequence[str]]) -> None:
    if not isfile(_path(value)):
        raise _mistaken(group, text, f"the file {value} does not exist", configs, Path(value).stem)
    if not value.endswith(".yaml"):
        raise _mistaken(group, text, f"the file name must end in .yaml, got {value}", {})


def _mistaken(
    group: str, text: str, problem: str, configs: Mapping[str, Sequence[str]], name: str | None = None
) -> SpecError:
    match = nearest(name, configs[group]) if name else None
    hint = f"did you mean {group}={match}?" if match else None
    if hint is None and configs:
        hint = f"configs: {', '.join(configs[group])}"
    return SpecError((group,), problem, hint, source=f"command-line override {text}")


def _not_an_override(text: str, configs: Mapping[str, Sequence[str]]) -> UserError:
    """The message for a word without =, with a suggestion."""
    groups = [group for group, names in configs.items() if text in names]
    if groups:
        hint = f"did you mean {' or '.join(f'{group}={text}' for group in groups)}?"
    elif Path(text).suffix in _YAML or isdir(text) or ("/" in text and not Path(text).suffix):
        hint = "put a run folder or a config file first, before all overrides"
    elif Path(text).suffix:
        hint = f"did you mean data={text}?"
    else:
        hint = "such as model=nequip or trainer.max_epochs=20"
    return UserError(f"command-line override {text}\n  key=value is required\n  {hint}")


def _quoted(value: str) -> str:
    """A text quoted for Hydra's grammar, if need be."""
    plain = all(char.isalnum() or char in "/-_.+*?@%" for char in value)
    return value if plain else json.dumps(value, ensure_ascii=False)
