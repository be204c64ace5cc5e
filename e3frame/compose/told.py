"""Errors of Hydra, OmegaConf and YAML in the words of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from e3frame.spec.errors import SpecError, UserError, did_you_mean


@contextmanager
def told(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra's, OmegaConf's and YAML's errors in the words of ours."""
    try:
        yield
    except MissingConfigException as error:
        raise _missing_config(error, overrides) from None
    except OverrideParseException as error:
        given = next((o for o in overrides if o.partition("=")[2] and error.override.endswith(o)), error.override)
        raise _unreadable(given) from None
    except OSError as error:  # such as a name that is too long for any file
        raise UserError(f"{_where(overrides)}\n  {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{_where(overrides)}\n  a defaults list or a value leads back to itself") from None
    except (HydraException, OmegaConfBaseException) as error:
        strange = re.fullmatch(r"token recognition error at: '(.)'?", str(error).split("\n")[0])
        given = [text for text in overrides if strange and strange[1] in text.partition("=")[2]]
        if given:
            raise _unreadable(given[0]) from None
        raise UserError(
            f"{_where(overrides)}\n  the config cannot be composed\n  " + "\n  ".join(_lines(error))
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError) as error:
        # Hydra and OmegaConf take for granted much that a file or an override need not have.
        what = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{_where(overrides)}\n  the config cannot be composed: {what}") from None


def _unreadable(override: str) -> UserError:
    hint = "quote what holds any of ()[]{},:=~ in it: 'key=\"value\"'"
    if re.search(r"""[{,]\s*['"][^'"]*['"]\s*:""", override):
        hint = "names inside { } take no quotes: {conv*: 0.1}"
    return UserError(f"command-line override {override}\n  it cannot be read\n  {hint}")


def _where(overrides: Sequence[str]) -> str:
    """A place, where nothing says which file it is."""
    return f"command-line override {' '.join(overrides)}" if overrides else "defaults list"


def refused(error: Exception, config_name: str, given: Sequence[str], hydra_overrides: Sequence[str]) -> Exception:
    """The error with the override that is to blame: the one without which Hydra composes."""
    for number, override in enumerate(given):
        try:
            compose(config_name, overrides=[*hydra_overrides[:number], *hydra_overrides[number + 1 :]])
        except Exception:
            continue
        key = override.lstrip("+~").partition("=")[0]
        source = f"command-line override {override}"
        problem, *more = _lines(error)
        unknown = re.fullmatch(r"Key '(.*)' not in '.*'", problem)
        if unknown is not None and key.startswith("hydra."):
            shows = f"e3frame train --cfg hydra -p {key.rpartition('.')[0]} shows those there are"
            problem, more = "unknown key", [shows]
        if override.startswith("~") and problem.endswith("does not exist."):
            problem, more = "there is no such key to remove", []
        return SpecError(tuple(key.split(".")), problem, "\n".join(more), source=source)
    return error


def _lines(error: Exception) -> list[str]:
    """What Hydra says, without what is for its developers."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    lines = [line.strip().removeprefix("Could not delete from config. ") for line in str(cause).splitlines()]
    return [line for line in lines if line and not line.startswith(("object_type", "reference_type", "full_key"))]


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
