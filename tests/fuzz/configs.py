"""Damaged configs and command lines: model files, run configs, folders of config groups, searches, overrides."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from fuzz._wrong_configs import BOMBS, FLOATS, NUMBERS, OTHERS, OVERRIDES, SNIPPETS, TEXTS
from support.fuzzing import Area, Case

from e3frame.compose import config_folder


@dataclass(frozen=True)
class _State:
    models: dict[str, str]
    runs: dict[str, str]
    groups: dict[str, str]
    sweeps: dict[str, str]


def prepare(folder: Path) -> _State:
    import torch

    import e3frame.cli.check
    import e3frame.cli.sweep
    import e3frame.network
    import e3frame.run.resume  # noqa: F401
    from e3frame.compose import load_run

    torch.set_num_threads(1)
    root = config_folder()
    texts = {f"{path.parent.name}/{path.stem}": path.read_text("utf-8") for path in sorted(root.glob("*/*.yaml"))}
    chosen = (["experiment=sample"], ["model=tfn", "data=xyz", "data.path=a.xyz"], ["experiment=polarizability"])
    runs = {o[0]: yaml.safe_dump(load_run(o).config.model_dump(mode="json"), sort_keys=False) for o in chosen}

    def of(*groups: str) -> dict[str, str]:
        return {name: text for name, text in texts.items() if name.partition("/")[0] in groups}

    rest = {name: text for name, text in texts.items() if not name.startswith(("sweep/", "logger/"))}
    return _State(of("model"), runs, rest, of("sweep"))


def case(state: _State, random: Random, number: int, folder: Path) -> Case:
    road = random.choice((_model, _model, _run, _run, _group, _group, _group, _sweep, _resume, _override, _override))
    return road(state, random, folder)


def _model(state: _State, random: Random, folder: Path) -> Case:
    name = _write(state.models, random, folder / "model.yaml")
    return Case(f"model file, {name}", lambda: _check(["model.yaml"], random.random() < 0.3))


def _run(state: _State, random: Random, folder: Path) -> Case:
    name = _write(state.runs, random, folder / "config.yaml")
    return Case(f"run config, {name}", lambda: _check(["config.yaml", "--no-data"], random.random() < 0.3))


def _group(state: _State, random: Random, folder: Path) -> Case:
    base = random.choice(sorted(state.groups))
    group = base.partition("/")[0]
    target = folder / "mine" / group / "mutated.yaml"
    target.parent.mkdir(parents=True)
    name = _write({base: state.groups[base]}, random, target)
    more = ["data.path=a.xyz"] if base in ("data/xyz", "data/npz", "data/ase_db") else []
    return Case(
        f"group, {name}", lambda: _check(["--no-data", "--config-dir", "mine", f"{group}=mutated", *more], False)
    )


def _sweep(state: _State, random: Random, folder: Path) -> Case:
    (folder / "mine" / "sweep").mkdir(parents=True)
    name = _write(state.sweeps, random, folder / "mine" / "sweep" / "mutated.yaml")
    return Case(f"sweep, {name}", lambda: _told(_checked_sweep))


def _resume(state: _State, random: Random, folder: Path) -> Case:
    (folder / "run.1").mkdir()
    name = _write(state.runs, random, folder / "run.1" / "config.yaml")
    return Case(f"resume, {name}", lambda: _told(_looked))


def _override(state: _State, random: Random, folder: Path) -> Case:
    chosen = []
    for _ in range(random.choice((1, 1, 1, 2))):
        value = random.choice(
            (*TEXTS, *map(str, NUMBERS), *map(str, FLOATS), "[" * 50, "{a:" * 60, "1,2", "choice(1,2)")
        )
        text = random.choice(OVERRIDES).format(value).replace("\x00", "")  # no command line holds that one
        chosen.append(_damaged(text, random) if random.random() < 0.2 else text)
    chosen = [text for text in chosen if text[:1] not in ("", "-") and ("=" in text or text[0] == "~")] or ["x=1"]
    return Case(f"overrides {chosen!r:.300}", lambda: _check(["--no-data", *chosen], False))


def _check(arguments: list[str], builds: bool) -> int:
    from e3frame.cli import main

    code = main(["check", *arguments])
    if code == 0 and builds:
        _build(arguments[0])
    return code


def _told(call: Callable[[list[str]], int]) -> int:
    from e3frame.cli import exit_code

    return exit_code(call, [])


def _checked_sweep(_: list[str]) -> int:
    from e3frame.cli.sweep import _checked

    _checked(["sweep=mutated"], "mine")
    return 0


def _looked(_: list[str]) -> int:
    from e3frame.compose import load_run
    from e3frame.run.resume import earlier_session

    earlier_session(Path("run.1"), load_run(["experiment=sample"]).config)
    return 0


def _build(file: str) -> None:
    """What is accepted can be built."""
    from e3frame.files.yaml_file import read_yaml
    from e3frame.model import ModelSpec
    from e3frame.spec.statistics import Statistics

    composed = read_yaml(file)
    raw = composed.raw.get("model", composed.raw)
    statistics = Statistics(
        species=("H", "C", "O"), avg_num_neighbors=10.0, energy_scale=1.0, energy_shift={"H": 0.0, "C": 0.0, "O": 0.0}
    )
    ModelSpec.model_validate(raw).resolve(statistics).build()


def _write(bases: dict[str, str], random: Random, target: Path) -> str:
    """Write a damaged base; what was done to which."""
    base = random.choice(sorted(bases))
    text, done = bases[base], []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        mutate = random.choice((_structure,) * 6 + (_syntax,) * 3 + (_line, _prefix))
        text = mutate(text, random)
        done.append(mutate.__name__.strip("_"))
    content = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.25:
        content = _bytes(content, random)
        done.append("bytes")
    target.write_bytes(content)
    return f"{base}, {' and '.join(done)}"


def _structure(text: str, random: Random) -> str:
    """Values and keys."""
    try:
        raw = yaml.safe_load(text)
        header = "".join(re.findall(r"^# @package.*\n", text, re.M))
        node, path = raw, [raw]
        while isinstance(node, dict | list) and node and random.random() < 0.8:
            node = random.choice(list(node.values()) if isinstance(node, dict) else node)
            path.append(node)
        holders = [node for node in path if isinstance(node, dict | list) and node]
        if not holders:
            return text
        _mutate(holders[-1], random)
        return header + yaml.safe_dump(raw, sort_keys=False, allow_unicode=random.random() < 0.5)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, KeyError, AttributeError):
        return text


def _mutate(holder: Any, random: Random) -> None:
    key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    what = random.random()
    if what < 0.6:
        holder[key] = _value(random)
    elif what < 0.7:
        del holder[key]
    elif isinstance(holder, dict):
        odd = (*TEXTS, 1, 1.5, None, True, str(key) + "x", str(key).upper())
        holder[random.choice(odd)] = holder.pop(key) if what < 0.85 else _value(random)
    else:
        holder += [_value(random)] * random.choice((1, 2, 1000))


def _value(random: Random) -> Any:
    value = random.choice((random.choice(TEXTS), random.choice(NUMBERS), random.choice(FLOATS), random.choice(OTHERS)))
    for _ in range(random.choice((0, 0, 0, 1, 2, 30, 90))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _syntax(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    place = random.randrange(len(lines) + 1)
    indent = re.match(r" *", lines[place - 1])[0] if place else ""  # type: ignore[index]
    return "".join([*lines[:place], indent if random.random() < 0.7 else "", random.choice(SNIPPETS), *lines[place:]])


def _line(text: str, random: Random) -> str:
    return _damaged(text, random)


def _prefix(text: str, random: Random) -> str:
    return random.choice((*BOMBS, *SNIPPETS)) + text


def _damaged(text: str, random: Random) -> str:
    """Characters removed, doubled, replaced."""
    for _ in range(random.choice((1, 2, 10))):
        if not text:
            return text
        place = random.randrange(len(text))
        piece = random.choice(("", text[place] * 2, random.choice("{}[]:,&*!|>'\"%@`#-?\t\x1b\u202e0~$="), " "))
        text = text[:place] + piece + text[place + 1 :]
    return text


def _bytes(content: bytes, random: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-be"),
        lambda: text.encode("latin-1", "replace") + b"\xe5",
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: content.replace(b"  ", b"\t"),
        lambda: content[: random.randrange(len(content) + 1)],
        lambda: content + bytes(random.randrange(256) for _ in range(8)),
        lambda: content.replace(b"e", bytes([random.randrange(256)])),
        lambda: content * 400,
        lambda: b"",
    )
    return random.choice(ways)()


AREA = Area("configs", prepare, case)
