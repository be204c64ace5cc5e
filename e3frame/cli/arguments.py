"""The arguments of a verb: what is wrong with them is one short message, with the option or the key to write."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from e3frame.spec.errors import UserError, message, nearest
from e3frame.spec.foreign import ours

Keys = Callable[[], Sequence[str]]
"""Gives the keys that a verb knows, those that end in a dot being the beginnings of keys; called when one is wrong."""


class Parser(argparse.ArgumentParser):
    """Options of a verb, in any order among its other arguments and never abbreviated.

    Args:
        prog: the verb as it is typed, ``e3frame check``.
        keys: those that may be set as ``key=value``.
    """

    def __init__(self, prog: str, keys: Keys = tuple, **more: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, formatter_class=formatter, allow_abbrev=False, **more)
        self.keys = keys

    def parse_args(self, args: Sequence[str], namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        refuse(filter(self._is_no_option, args), self.prog, self._options(), self.keys)  # before what is required
        given, unknown = self._parsed(list(args))
        refuse(unknown, self.prog, self._options(), self.keys)
        return given

    def _parsed(self, args: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """What is given, and what is unknown. argparse itself allows no options among the words of a subcommand."""
        if self._subparsers is None:
            return self.parse_known_intermixed_args(args)
        (action,) = self._subparsers._group_actions
        subcommands: dict[str, argparse.ArgumentParser] = action.choices  # type: ignore[assignment]
        chosen = next((text for text in args if text in subcommands), None)
        if chosen is None:
            return self.parse_known_args(args)
        args.remove(chosen)
        return subcommands[chosen].parse_known_intermixed_args(args, argparse.Namespace(**{action.dest: chosen}))

    def _is_no_option(self, text: str) -> bool:
        known = {text.partition("=")[0], text[:2] if text[1:2] != "-" else text} & {"--", *self._options()}
        return text[:1] == "-" and len(text) > 1 and not text[1].isdecimal() and not known

    def _options(self) -> set[str]:
        verbs = self._subparsers._group_actions[0].choices.values() if self._subparsers else ()  # type: ignore[union-attr]
        return {option for parser in (self, *verbs) for option in parser._option_string_actions}

    def error(self, message: str) -> NoReturn:
        raise mistake(self.prog, message)


def mistake(verb: str, problem: str) -> UserError:
    """The message for arguments that cannot be parsed, from what argparse says."""
    return UserError(message(verb, problem, f"{verb} --help says more"))


def asks_for_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("-h", "--help") for argument in arguments)


def run_keys() -> list[str]:
    """The keys of a run config, those of its groups too where all choices have the same."""
    from e3frame.config.run import RunConfig

    keys = []
    for key, field in RunConfig.model_fields.items():
        keys += [key, f"{key}.", *(f"{key}.{inner}" for inner in getattr(field.annotation, "model_fields", ()))]
    return keys


def refuse(unknown: Iterable[str], verb: str, options: Iterable[str], keys: Keys) -> None:
    """Raise UserError for the first argument that a verb does not know, which may be an option of another code."""
    for text in unknown:
        if text[:1] != "-":
            raise mistake(verb, f"one argument too many: {text}")
        option, _, value = text.partition("=")
        shown = sorted(known for known in options if known[:2] == "--" and known not in ("--worker", "--words"))
        raise UserError(message(option, "there is no such option", _hint(option, value or "...", shown, keys())))


def _hint(option: str, value: str, options: Sequence[str], keys: Sequence[str]) -> str:
    plain = option.lstrip("-").replace("-", "_")
    inside = [key for key in keys if key.endswith(f".{plain}")]
    known = plain if _is_key(plain, keys) else inside[0] if len(inside) == 1 else ours(option)
    if known is not None and _is_key(known.partition("=")[0], keys):
        return f"write {known}" if "=" in known else f"write {known}={value}"
    match = nearest(option, options)
    if match is not None:
        return f"did you mean {match}?"
    match = nearest(plain, [key for key in keys if key[-1] != "."])
    return f"did you mean {match}={value}?" if match else f"options: {', '.join(options)}"


def _is_key(text: str, keys: Sequence[str]) -> bool:
    return text in keys or any(key[-1] == "." and text.startswith(key) for key in keys)
