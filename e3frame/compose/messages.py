"""Errors of Hydra and OmegaConf as messages of ours: none of their own words is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from e3frame.spec.errors import SpecError, UserError, did_you_mean

_TYPES = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "String": "a text"}
_PROBLEMS = {
    r"Value '(?P<given>.*)' of type '.*' could not be converted to (?P<type>\w+)": "{type} is required, got {given}",
    r"Could not delete from config. '.*' does not exist.": "there is no such key to remove",
    r"Could not delete from config. The value of '.*' is (?P<given>.*) and not .*": "the value of this key is {given}",
    r"Could not append to config. An item is already at .*": "this key exists\nwrite it without the +",
    r"(?:In '.*': )?Could not override '(?P<given>.*)'. ?.*": "the defaults list has no group '{given}' to override",
    r"Could not delete '(?P<given>.*)'. No match in the defaults list": "the defaults list has no '{given}' to remove",
    r"Multiple values for (?P<given>\S+?)\..*": "the group '{given}' is chosen twice\nkeep one choice",
    r"(?P<given>\S+) appears more than once in .*": "'{given}' is listed twice in the defaults list",
    r"Duplicate _self_ defined in (?P<given>.*)": "_self_ is listed twice in the defaults list of {given}",
    r"Sweeping over Hydra's configuration is not supported.*": "a key of hydra takes one value",
    r"Sweep parameters '(?P<given>.*)' requires --multirun": "one value is required\n-m runs once for each",
}
"""Messages of Hydra and OmegaConf, and ours: a problem, and below it a hint."""


@contextmanager
def plain_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into a UserError.

    Args:
        overrides: composed overrides, for the position of the mistake.

    Raises:
        UserError: instead of an error of Hydra or OmegaConf.
    """
    try:
        yield
    except MissingConfigException as error:
        raise _missing_config(error, overrides) from None
    except OverrideParseException as error:
        given = next((o for o in overrides if o.partition("=")[2] and error.override.endswith(o)), error.override)
        raise _unreadable(given) from None
    except OSError as error:  # such as a name that is too long for a file
        raise UserError(f"{_where(overrides)}\n  {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{_where(overrides)}\n  a defaults list or a value refers to itself") from None
    except (HydraException, OmegaConfBaseException) as error:
        strange = re.fullmatch(r"token recognition error at: '(.)'?", str(error).split("\n")[0])
        unreadable = [text for text in overrides if strange and strange[1] in text.partition("=")[2]]
        if unreadable:
            raise _unreadable(unreadable[0]) from None
        raise UserError("\n  ".join([_where(overrides), *(_plain(error) or _unknown(overrides))])) from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError):
        # Hydra and OmegaConf assume much that a file or an override need not have.
        raise UserError("\n  ".join([_where(overrides), *_unknown(overrides)])) from None


def blamed(error: Exception, config_name: str, given: Sequence[str], hydra_overrides: Sequence[str]) -> Exception:
    """The error with the override that causes it: the one without which Hydra composes; else the error itself."""
    for number, override in enumerate(given):
        try:
            compose(config_name, overrides=[*hydra_overrides[:number], *hydra_overrides[number + 1 :]])
        except Exception:
            continue
        key = override.lstrip("+~").partition("=")[0]
        problem, *hints = _plain(error) or _unknown([override])
        if re.match(r"Key '.*' not in '", str(_cause(error))) and key.startswith("hydra."):
            problem, hints = "unknown key", [f"to see the keys: e3frame train --cfg hydra -p {key.rpartition('.')[0]}"]
        source = f"command-line override {override}"
        return SpecError(tuple(key.split(".")), problem, "\n".join(hints) or None, source=source)
    return error


def _plain(error: Exception) -> list[str]:
    """The problem, and perhaps hints, for an error of Hydra or OmegaConf; nothing for one that is not in the table."""
    text = str(_cause(error)).split("\n")[0].strip()
    for pattern, plain in _PROBLEMS.items():
        found = re.fullmatch(pattern, text)
        if found is not None:
            known = found.groupdict()
            return plain.format(**known | {"type": _TYPES.get(known.get("type") or "", "another value")}).split("\n")
    return []


def _unknown(overrides: Sequence[str]) -> list[str]:
    if len(overrides) == 1:
        return ["this override does not fit the rest of the config"]
    return ["the config cannot be composed", "e3frame train --info defaults shows which files are read"]


def _cause(error: Exception) -> BaseException:
    """OmegaConf's error inside Hydra's, if there is one."""
    return error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error


def _unreadable(override: str) -> UserError:
    hint = "put a value with any of ()[]{},:=~ in quotes: 'key=\"value\"'"
    if re.search(r"""[{,]\s*['"][^'"]*['"]\s*:""", override):
        hint = "write names inside { } without quotes: {conv*: 0.1}"
    return UserError(f"command-line override {override}\n  this override cannot be parsed\n  {hint}")


def _where(overrides: Sequence[str]) -> str:
    """A place for errors that name no file."""
    return f"command-line override {' '.join(overrides)}" if overrides else "defaults list"


def _missing_config(error: MissingConfigException, overrides: Sequence[str]) -> UserError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return UserError(f"there is no config named {name}")
    typed = next((o for o in overrides if o.lstrip("+").startswith(f"{group}=")), None)
    source = f"command-line override {typed}" if typed else "defaults list"
    options = list(error.options or [])
    hint = did_you_mean(name, options, f"configs in {group}")
    if name.endswith((".yaml", ".yml")):
        hint = "name the config without folder and .yaml; add your own folder with --config-dir"
    return SpecError((group,), f"there is no {group} config named {name}", hint, source=source)
