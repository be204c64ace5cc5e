"""``e3frame completion``: shell completion of verbs, groups, configs, keys and files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from e3frame.cli.arguments import Parser
from e3frame.spec.errors import UserError

_EXAMPLES = """
    eval "$(e3frame completion bash)"                                   in ~/.bashrc
    eval "$(e3frame completion zsh)"                                    in ~/.zshrc, after compinit
    e3frame completion fish > ~/.config/fish/completions/e3frame.fish
"""

_BASH = """_e3frame() {
    local line=${COMP_LINE:0:COMP_POINT} word reply
    word=${line##*[[:space:]]}
    local IFS=$'\\n'
    reply=($(e3frame completion --words "$line" 2>/dev/null))
    COMPREPLY=()
    # Bash breaks words at = and :, and replaces what comes after the last of them.
    local kept=${word%"${word##*[=:]}"}
    for each in "${reply[@]}"; do COMPREPLY+=("${each#"$kept"}"); done
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} =~ [=./]$ ]] && compopt -o nospace
    return 0
}
complete -F _e3frame e3frame"""

_ZSH = """_e3frame() {
    local -a reply
    reply=("${(@f)$(e3frame completion --words "$LBUFFER" 2>/dev/null)}")
    compadd -S '' -a reply
}
compdef _e3frame e3frame"""

_FISH = "complete -c e3frame -f -a '(e3frame completion --words (commandline -cp | string collect))'"

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def parser() -> Parser:
    parser = Parser("completion", _EXAMPLES)
    parser.add_argument("shell", nargs="?", choices=_SCRIPTS, help="the shell whose script to print")
    parser.add_argument("--words", metavar="LINE", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    if options.words is not None:
        print("\n".join(candidates(options.words)))
    elif options.shell is None:
        raise UserError(f"e3frame completion\n  name a shell: {', '.join(_SCRIPTS)}")
    else:
        print(_SCRIPTS[options.shell])
    return 0


def candidates(line: str) -> list[str]:
    """Completions of the last word of a command line.

    Args:
        line: the line up to the cursor, from ``e3frame`` on.
    """
    from e3frame.cli import VERBS

    words = line.split()
    word = "" if not line or line[-1].isspace() else words.pop()
    if len(words) <= 1:
        return sorted(verb for verb in VERBS if verb.startswith(word))
    if words[1] not in VERBS:
        return []
    declared: Parser = import_module(f"e3frame.cli.{words[1]}").parser()
    found = declared.options() if word[:1] == "-" else [*declared.choices(), *_words(declared, word, words[2:])]
    return sorted({text for text in found if text.startswith(word)})


def _words(declared: Parser, word: str, before: Sequence[str]) -> Iterator[str]:
    key, equals, value = word.rpartition("=")
    if declared.words == "overrides":
        yield from _overrides(declared, word, before)
    if declared.words == "layers":
        import e3frame.layers  # noqa: F401  (registers every kind)
        from e3frame.spec.layer import LayerSpec

        yield from LayerSpec.members
    if declared.words == "keys" and not equals:
        yield from (key if key[-1] == "." else f"{key}=" for key in declared.known_keys())
    if declared.words in ("keys", "files"):
        yield from (f"{key}{equals}{path}" for path in _paths(value))


def _overrides(declared: Parser, word: str, before: Sequence[str]) -> Iterator[str]:
    """Overrides of the config that the words before it compose."""
    from e3frame.compose import choices

    key, equals, value = word.partition("=")
    configs = choices(None)
    if equals:
        yield from (f"{key}={name}" for name in configs.get(key, ()))
        yield from (f"{key}={path}" for path in _paths(value))
        return
    yield from (f"{group}=" for group in configs if group != "sweep" or "sweep" in declared.groups)
    yield from _keys(_config(before), word)
    if not before:
        yield from _paths(word)


def _config(words: Sequence[str]) -> Mapping[str, Any]:
    """The composed config; without overrides if these are invalid, as while they are being typed."""
    from e3frame.cli.shorthand import expanded
    from e3frame.compose import compose_config

    for overrides in ([word for word in words if word[:1] != "-"], []):
        try:
            return compose_config(expanded(overrides)).raw
        except UserError:
            continue
    return {}


def _keys(raw: Mapping[str, Any], word: str) -> Iterator[str]:
    """The keys at the depth that is typed: ``trainer.`` has more below it, ``trainer.max_epochs=`` takes a value."""
    *parents, _ = word.split(".")
    inner: Any = raw
    for name in parents:
        inner = inner.get(name) if isinstance(inner, Mapping) else None
    for name, value in inner.items() if isinstance(inner, Mapping) else ():
        path = ".".join([*parents, str(name)])
        yield f"{path}." if isinstance(value, Mapping) and value else f"{path}="


def _paths(text: str) -> Iterator[str]:
    """Files and folders whose path begins with ``text``."""
    folder, _, start = text.rpartition("/")
    place = Path(folder or ("/" if text.startswith("/") else ".")).expanduser()
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            prefix = text[: len(text) - len(start)]
            yield f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"
