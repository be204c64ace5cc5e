"""What a config may ask for is bounded: what is above a limit is refused with its place, what is below is built."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from e3frame.algebra.irreps import Irreps
from e3frame.cli import main
from e3frame.compose import config_folder, from_overrides, load_run, read_yaml
from e3frame.model import ModelSpec
from e3frame.spec import limits
from e3frame.spec.errors import DataError, FileError, SpecError, UserError
from e3frame.spec.layer import require_few_paths
from e3frame.spec.statistics import Statistics
from e3frame.spec.words import printable
from e3frame.sweep.spec import SweepSpec

MODELS = config_folder() / "model"
NEQUIP = (MODELS / "nequip_small.yaml").read_text(encoding="utf-8")
STATISTICS = Statistics(species=("H", "C"), avg_num_neighbors=10.0, energy_scale=1.0, energy_shift={"H": 0.0, "C": 0.0})
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
CHAIN = "".join(f"b{n}: '${{b{n + 1}}}${{b{n + 1}}}'\n" for n in range(8)) + "b8: " + "x" * 9_000 + "\n"
TREE = "".join(f"c{n}: [{', '.join([chr(39) + f'${{c{n + 1}}}' + chr(39)] * 12)}]\n" for n in range(4)) + "c4: [1]\n"

FILES = {
    "aliases": (BOMB, ":5:35\n  a config has at most 20,000 values; each use of an alias counts"),
    "an alias in itself": ("a: &a [*a]\n", ":1:8\n  *a is inside &a, which would contain itself"),
    "depth": ("a: " + "[" * 50_000, ":1:43\n  at most 40 mappings and lists may be nested"),
    "depth of blocks": ("".join(" " * n + "a:\n" for n in range(60)), ":41:41\n  at most 40 mappings and lists"),
    "length": ("a: 1 # " + "x" * limits.BYTES, "\n  the file is too large: a config has at most 1,048,576 bytes"),
    "values": ("a: [" + "1, " * 20_000 + "]\n", ":1:59996\n  a config has at most 20,000 values"),
    "text": ("a: " + "x" * 20_000, ":1:4\n  a text has at most 10,000 characters, got 20,000"),
    "chain": (CHAIN, ":1:5  b0\n  the config is too large once its ${...} are filled in"),
    "numbers": ("a: [" + "1, " * 300 + "]\nb: [" + "'${a}', " * 300 + "]\n", ":2:525  b.65\n  the config is too large"),
    "filled in": (TREE, ":1:6  c0.0\n  more than 1,000 ${...} are to be filled in"),
    "circle": ("a: ${b}\nb: ${a}\n", ":2:4  b\n  ${a} refers to itself"),
    "inside itself": ("a: {b: '${a}'}\n", ":1:8  a.b\n  ${a} refers to itself"),
    "resolver": (
        "a: '${oc.create:[1]}'\n",
        ":1:4  a\n  this ${...} is not allowed: ${oc.create:[1]}\n  write ${key",
    ),
    "tag": ("a: !!python/object/apply:os.system [ls]\n", ":1:4\n  tags are not allowed, got tag:yaml.org,2002:python"),
    "binary": ("a: !!binary aGk=\n", ":1:4\n  tags are not allowed, got tag:yaml.org,2002:binary"),
    "list as key": ("? [a]\n: b\n", ":1:3\n  a key must be a text, got a list or a mapping"),
    "alias as key": ("a: &a b\n*a : c\n", ":2:1\n  a key must be a text, got an alias"),
    "no key": ("~: b\n", ":1:1\n  a key is missing before the ':'"),
    "two documents": ("a: 1\n---\nb: 2\n", ":2:1\n  a second document begins here: a config is one document"),
    "control character": ("a: 1\nb: \x1b[31m\n", ":2:4\n  the character U+001B is not allowed"),
    "null byte": ("a: 1\x00\n", ":1:5\n  the character U+0000 is not allowed in YAML"),
    "integer": ("a: " + "9" * 5_000 + "\n", ":1:4\n  this is not YAML: this is not a valid integer"),
    "large integer": ("a: 9223372036854775808\n", ":1:4\n  this is not YAML: an integer has at most 64 bits"),
    "hexadecimal": ("a: 0x_\n", ":1:4\n  this is not YAML: this is not a valid integer"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_bounded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that Hydra reads."""
    monkeypatch.chdir(tmp_path)
    text, message = FILES[name]
    for file in (Path("x.yaml"), Path("mine/model/x.yaml")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        read_yaml("x.yaml").parse(ModelSpec)
    assert str(caught.value).startswith(f"x.yaml{message}")
    with pytest.raises(UserError) as caught:
        load_run(["model=x"], "mine")
    told = str(caught.value).replace("  model.", "  ").replace("${model.", "${")
    assert told.startswith(f"mine/model/x.yaml{message}") or name in (
        "chain",
        "circle",
        "inside itself",
        "numbers",
        "filled in",
    )
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NEQUIP.encode("utf-16"), "m.yaml:1:1\n  the file is UTF-16, not UTF-8\n  save the file as UTF-8"),
        (b"\xef\xbb\xbf" + NEQUIP.encode(), None),
        (NEQUIP.replace("\n", "\r\n").encode(), None),
    ],
    ids=["utf-16", "byte order mark", "line ends of Windows"],
)
def test_codings(content: bytes, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_bytes(content)
    if message is None:
        assert read_yaml("m.yaml").parse(ModelSpec) == ModelSpec.model_validate(yaml.safe_load(NEQUIP))
        return
    with pytest.raises(UserError) as caught:
        read_yaml("m.yaml")
    assert str(caught.value) == message


HEADERS = {
    "# @package a b\n": ":1:1\n  one package is required, got a b\n  write # @package _global_, or remove this line",
    "# @package\n": ":1:1\n  one package is required, got none",
    "# about it\n# @package ${x}\n": ":2:1\n  one package is required, got ${x}",
    "defaults: 3\n": ":1:11  defaults\n  a list is required",
    "defaults: [3]\n": ":1:12  defaults.0\n  this is not an item of a defaults list: 3",
    "defaults: [{a: b, c: d}]\n": ":1:12  defaults.0\n  this is not an item of a defaults list: {",
    "defaults: [{a: {b: c}}]\n": ":1:16  defaults.0.a\n  this is not an item of a defaults list",
    "defaults: ['']\n": ":1:12  defaults.0\n  this is not an item of a defaults list",
    "- a\n": "\n  a mapping is required at the top level",
}


@pytest.mark.parametrize("text", HEADERS)
def test_headers_and_defaults_lists(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_run(["experiment=x"], "mine")
    assert str(caught.value).startswith(f"mine/experiment/x.yaml{HEADERS[text]}")


def test_a_comment_may_begin_with_an_at_sign(tmp_path: Path) -> None:
    file = tmp_path / "experiment" / "x.yaml"
    file.parent.mkdir()
    file.write_text("# @author me and you\n# @package _global_\nseed: 7\n", encoding="utf-8")
    assert load_run(["experiment=x"], str(tmp_path)).config.seed == 7


LAYERS = {
    ("irreps", "hidden"): ("10000000x0e", "at most 262,144 components are allowed, but 10000000x0e has 10,000,000"),
    ("layers", "radial", "num_basis"): (10**12, "must be <= 262144, got 1000000000000"),
    ("layers", "first_conv", "radial_mlp"): ([10**9], "must be <= 262144, got 1000000000"),
    ("layers", "last_conv", "radial_mlp"): (
        [60_000] * 3,
        "7,203,392,000 weights in this layer, 7,203,403,792 up to here: at most 250,000,000",
    ),
    ("layers", "last_conv", "irreps_out"): ("1x1000000000o", "l is at most 12, got 1000000000"),
    ("layers", "species", "irreps_out"): (
        "+".join(["0e"] * 340),
        "irreps have at most 1,000 characters, got 1,",
    ),
    ("layers", "interactions", "times"): (10**9, "must be <= 500, got 1000000000"),
    ("layers", "interactions", "layers"): (
        {"a": {"kind": "repeat", "times": 400, "layers": {"b": {"kind": "norm_activation"}, "c": {"kind": "gate"}}}},
        "a model has at most 500 layers, got 809 after unrolling repeats",
    ),
    ("layers", "radial", "envelope", "p"): (10**6, "must be <= 100, got 1000000"),
    ("layers", "first_conv", "radial_mlp", 0): ("9" * 400, "must be <= 262144, got 99999"),
    ("r_max",): (1e6, "must be <= 100, got 1000000.0"),
}


@pytest.mark.parametrize("path", LAYERS, ids=lambda path: ".".join(map(str, path)))
def test_models_are_bounded(
    path: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    value, message = LAYERS[path]
    Path("m.yaml").write_text(yaml.safe_dump(_with(yaml.safe_load(NEQUIP), path, value), sort_keys=False))
    began = time.process_time()
    assert main(["check", "m.yaml"]) == 1
    assert time.process_time() - began < 1
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("m.yaml:")
    assert max(map(len, told.splitlines())) < 450


def test_products_of_many_terms_are_refused() -> None:
    many = Irreps("+".join(["1x0e", "1x1o"] * 200))
    with pytest.raises(SpecError, match="400 x 400 combinations of terms, at most 100,000 are allowed"):
        require_few_paths("irreps_out", many, many)
    require_few_paths("irreps_out", many, many[:200])


def test_what_is_accepted_can_be_built(tmp_path: Path) -> None:
    """Every number of every model, far too large or at a limit; and every text."""
    built = refused = 0
    for file in ("nequip_small", "tfn"):
        raw = yaml.safe_load((MODELS / f"{file}.yaml").read_text(encoding="utf-8"))
        for path, value in _values(raw):
            for changed in _larger(value):
                try:
                    spec = ModelSpec.model_validate(_with(deepcopy(raw), path, changed))
                    spec.typed()
                except (ValueError, SpecError):
                    refused += 1
                    continue
                model = spec.resolve(STATISTICS).build()
                assert sum(p.numel() for p in model.parameters()) <= limits.PARAMETERS
                built += 1
    assert refused > 100
    assert built > 8


def _values(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _values(value, (*path, key))
    else:
        yield path, raw


def _larger(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool) or value is None:
        return ()
    if isinstance(value, int | float):
        return (60, 10**9, 1e300)
    return ("10000000x0e", "3x1000000o", "1000x0e + 1x40e") if "0e" in value or value == "hidden" else ()


def _with(raw: Any, path: tuple[Any, ...], value: Any) -> Any:
    node = raw
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return raw


@pytest.mark.parametrize("key", ["data.num_workers", "data.processes", "trainer.devices", "trainer.num_threads"])
def test_processes_are_bounded_by_the_machine(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["data=xyz", "data.path=a.xyz", "data.batch_size=600", f"{key}=500"]
    monkeypatch.setenv("E3FRAME_CORES", "2")
    with pytest.raises(SpecError) as caught:
        load_run(overrides)
    assert str(caught.value) == (
        f"command-line override {key}=500  {key}\n  must be <= 8, as this machine has 2 cores; got 500\n"
        "  to allow them, set E3FRAME_CORES=500"
    )
    assert load_run([*overrides[:-1], f"{key}=8"])
    monkeypatch.setenv("E3FRAME_CORES", "500")
    assert load_run(overrides)


def test_workers_of_a_search_are_bounded_by_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {"name": "s", "space": {"seed": [0, 1]}, "workers": 500}
    monkeypatch.setenv("E3FRAME_CORES", "4")
    with pytest.raises(ValueError, match="must be <= 8, as this machine has 4 cores; got 500"):
        SweepSpec.model_validate(raw)
    monkeypatch.setenv("E3FRAME_CORES", "500")
    assert SweepSpec.model_validate(raw).workers == 500


OVERRIDES = {
    "x=" + "[" * 100: "at most 40 brackets may be nested",
    "x=" + "1" * 20_000: "an override has at most 10,000 characters",
    "name=a\udce5": "it has bytes that are not UTF-8",
    "=1": "a key is required before the =, such as optimizer.lr",
    "a..b=1": "a key is required before the =, such as optimizer.lr",
    "seed=" + "9" * 100: "an integer has at most 64 bits",
}


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text[:20])
def test_overrides_are_bounded(override: str) -> None:
    for call in (lambda: load_run([override]), lambda: from_overrides([override]).parse(ModelSpec)):
        with pytest.raises(UserError) as caught:
            call()
        assert OVERRIDES[override] in str(caught.value)
        assert str(caught.value).startswith(f"command-line override {printable(override[:60])}")


def test_messages_act_on_no_terminal() -> None:
    """Whatever a stranger's text holds, in each kind of message and in each of its parts."""
    evil = "a\x1b[31m\u202eb\u2066\x00\x9bc\rd\u200b"
    shown = "a\\x1b[31m\\u202eb\\u2066\\x00\\x9bc\\rd\\u200b"
    assert str(SpecError((evil,), evil, evil, source=evil)) == f"{shown}  {shown}\n  {shown}\n  {shown}"
    assert str(DataError(evil, file=evil, hint=evil)) == f"{shown}\n  {shown}\n  {shown}"
    assert str(FileError(evil, evil, evil)) == f"{shown}\n  {shown}\n  {shown}"
    assert str(UserError(f"{evil}\n  {evil}")) == f"{shown}\n  {shown}"
    long = SpecError(("k",), "\n".join(["x" * 10_000] * 100), source="f.yaml:1:1")
    lines = str(long).splitlines()
    assert len(lines) == 12
    assert max(map(len, lines)) < 450
    assert lines[-1] == "  ... and 90 more lines"


def test_tables_act_on_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of files are any texts; they are no markup either."""
    texts = ['data.keys.energy="[red]E\x1b[31m"', 'data.keys.forces="\u202e[b]"']
    assert main(["check", "--no-data", "data=xyz", "data.path=a.xyz", *texts]) == 0, capsys.readouterr().err
    table = capsys.readouterr().out
    assert "[red]E\\x1b[31m" in table
    assert "\\u202e[b]" in table
    assert "\x1b" not in table


@pytest.mark.parametrize("irreps", ["1x1000000000o x 1o", "1x100000o x 1x100000e", "10000000x0e"])
def test_irreps_of_the_command_line_are_bounded(irreps: str, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    assert main(["irreps", *irreps.split()]) == 1
    assert time.process_time() - began < 1
    assert capsys.readouterr().err.startswith(("l is at most 12, got 10", "at most 262,144 components are allowed"))
