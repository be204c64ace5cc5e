"""The declaration of a verb: what it takes, with one line of help for each argument, option and key.

Usage text, completion and the checks of the arguments derive from it. What is wrong is one short message that says what
to write instead.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, get_origin

from e3frame.cli.shorthand import named
from e3frame.spec.base import Spec, shown
from e3frame.spec.docs import summaries
from e3frame.spec.errors import UserError, message, nearest
from e3frame.spec.foreign import ours

Words = Literal["overrides", "keys", "files", "layers", "other"]
"""Kind of arguments of a command: overrides of the run config, its own keys, files, kinds of layers, or anything."""


class Options(argparse.ArgumentParser):
    """Options that are never abbreviated; a mistake is a UserError."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, formatter_class=_formatter, allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        raise self.mistake(message)

    def mistake(self, problem: str) -> UserError:
        """The message for arguments that cannot be parsed."""
        return UserError(message(self.prog, problem, f"see {self.prog} --help"))


class Parser(Options):
    """Arguments of a verb. Options may stand anywhere among the words and are never abbreviated.

    Args:
        verb: the verb as typed, ``check``.
        examples: command lines, each with what it does, shown by ``--help``.
        words: what its words are.
        spec: keys of the verb, set by words ``key=value``.
        leading: keys that the first words may leave out.
        groups: further groups of keys, such as ``sweep``.
        note: what ``--help`` says below the examples.
    """

    def __init__(
        self,
        verb: str,
        examples: str = "",
        words: Words = "other",
        spec: type[Spec] | None = None,
        leading: Sequence[str] = (),
        groups: Sequence[str] = (),
        note: str = "",
    ) -> None:
        from e3frame.cli import VERBS

        parts = [_sentence(VERBS[verb]), textwrap.indent(textwrap.dedent(examples).strip(), "  "), note]
        super().__init__(
            f"e3frame {verb}",
            description="\n\n".join(filter(None, parts)),
            epilog=None if spec is None else _key_list(spec),
        )
        self.words, self.spec, self.leading, self.groups = words, spec, leading, groups
        if spec is not None:
            may = f"{' and '.join(f'{key}=' for key in leading)} may be left out"
            self.add_argument("words", nargs="*", metavar="KEY=VALUE", help=f"the keys below; {may}")

    def parse_args(self, args: Sequence[str], namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        self._refuse(filter(self._is_unknown_option, args))  # before what is required
        given, unknown = self._parsed(list(args))
        self._refuse(unknown)
        return given

    def key_values(self, args: Sequence[str]) -> list[str]:
        """The words as ``key=value``."""
        return named(self.parse_args(args).words, *self.leading)

    def options(self) -> list[str]:
        """The options that ``--help`` shows, those of all subcommands included."""
        actions = [action for parser in (self, *self.subcommands().values()) for action in parser._actions]
        return sorted({o for a in actions if a.help != argparse.SUPPRESS for o in a.option_strings if o[:2] == "--"})

    def choices(self) -> list[str]:
        """Words that are one of a list, such as subcommands."""
        return [word for action in self._actions if not action.option_strings for word in action.choices or ()]

    def subcommands(self) -> dict[str, argparse.ArgumentParser]:
        found = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(found[0].choices) if found else {}

    def known_keys(self) -> list[str]:
        """Return the keys that an argument may set; a key that ends in a dot means all keys below it."""
        known = []
        for group in self.groups:
            known += [group, f"{group}."]
        spec = self.spec
        if self.words == "overrides":
            from e3frame.config.run import RunConfig

            spec = RunConfig
        for key, field in {} if spec is None else spec.model_fields.items():
            inside = getattr(field.annotation, "model_fields", None)
            known += [key, *([] if inside is None else [f"{key}.", *(f"{key}.{name}" for name in inside)])]
            known += [f"{key}."] * (get_origin(field.annotation) is dict)
        return known

    def format_help(self) -> str:
        text = super().format_help()
        if self.words == "overrides":
            from e3frame.compose import choices

            groups = {group: ", ".join(names) for group, names in choices(None).items()}
            text += "\n" + _listed("groups", {group: groups[group] for group in groups if self._takes(group)})
        return text

    def _takes(self, group: str) -> bool:
        return group != "sweep" or group in self.groups

    def _parsed(self, args: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """Return known and unknown arguments. argparse itself allows no options among the arguments of a subcommand."""
        subcommands = self.subcommands()
        if not subcommands:
            return self.parse_known_intermixed_args(args)
        chosen = next((text for text in args if text in subcommands), None)
        if chosen is None:
            return self.parse_known_args(args)
        args.remove(chosen)
        return subcommands[chosen].parse_known_intermixed_args(args, argparse.Namespace(what=chosen))

    def _refuse(self, unknown: Iterable[str]) -> None:
        """Raise UserError for the first argument that the verb does not take."""
        for text in unknown:
            if text[:1] != "-":
                raise self.mistake(f"unexpected argument: {text}")
            option, _, value = text.partition("=")
            raise UserError(message(option, "unknown option", self._hint(option, value or "...")))

    def _is_unknown_option(self, text: str) -> bool:
        option = text.partition("=")[0] if text[1:2] == "-" else text[:2]
        return text[:1] == "-" and text[1:2] not in ("", *"0123456789") and option not in ("--", *self._known())

    def _known(self) -> set[str]:
        return {option for parser in (self, *self.subcommands().values()) for option in parser._option_string_actions}

    def _hint(self, option: str, value: str) -> str:
        keys, options = self.known_keys(), self.options()
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


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _key_list(spec: type[Spec]) -> str:
    """Each key with its documentation and its default."""
    texts = {}
    for key, text in summaries(spec).items():
        field = spec.model_fields[key]
        texts[key] = f"{text}{' Required.' if field.is_required() else _default(field.default)}"
    return _listed("keys", texts)


def _default(value: Any) -> str:
    return f" Default: {shown(value)}." if isinstance(value, str | int | float) and value is not False else ""


def _listed(heading: str, texts: Mapping[str, str]) -> str:
    width = max(map(len, texts)) + 4
    lines = [f"{heading}:"]
    for name, text in texts.items():
        first = f"  {name:{width - 2}}"
        lines += textwrap.wrap(text, _columns(), initial_indent=first, subsequent_indent=" " * width)
    return "\n".join(lines) + "\n"


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=_columns())


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, 120) - 2
