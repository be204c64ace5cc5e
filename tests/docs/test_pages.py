"""What the pages of the documentation say is so: their links, commands, configs, Python and messages."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import pytest
import yaml

import e3frame
from e3frame.cli import VERBS
from e3frame.cli.grid import checked
from e3frame.cli.shorthand import expanded
from e3frame.compose import config_folder, load_run
from e3frame.config.run import RunConfig
from e3frame.config.targets import TaskSpec
from e3frame.data.sources.base import DataSpec
from e3frame.data.sources.md17 import Md17Spec
from e3frame.files.yaml_file import parse_yaml
from e3frame.model import ModelSpec
from e3frame.spec.base import Spec
from e3frame.spec.errors import UserError
from e3frame.spec.layer import LayerSpec
from e3frame.spec.registry import Kinded
from e3frame.spec.units import Units
from e3frame.spec.validate import SpecErrors, validate
from e3frame.sweep.spec import SweepSpec

ROOT = config_folder().parent
DOCS = ROOT / ".github" / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import keys  # noqa: E402
import modules  # noqa: E402
import pages  # noqa: E402

PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
PAGES = {name: path for name, path in PAGES.items() if not name.startswith("reference/")}
OTHERS = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / ".github").glob("*.md")))}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in {**PAGES, **OTHERS}.items()}
README = TEXTS["README.md"]
MINE = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages that are written from the specs."""
    root = tmp_path_factory.mktemp("docs")
    pages.write_pages(root)
    return root / "reference"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of configs with the model of the README; the files of data that commands name are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(MINE, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    return str(tmp_path)


FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Fenced blocks, each with the page that it is on; those of recipes belong to tests/recipes."""
    shown = {name: text.partition("\n## Recipes\n")[0] for name, text in TEXTS.items()}
    found = [(name, block) for name, text in shown.items() for block in FENCED.findall(text)]
    return [(name, text) for name, (language, text) in found if language in languages]


def test_pages_were_found() -> None:
    assert len(PAGES) >= 20
    assert len(blocks("yaml")) >= 5


def anchors(text: str) -> set[str]:
    """The anchors of headings, as GitHub and Sphinx make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings]
    return {anchor.replace("_", "-") for anchor in plain} | set(plain)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str, reference: Path) -> None:
    folder = {**PAGES, **OTHERS}[name].parent
    text = FENCED.sub("", TEXTS[name])
    found = re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", text)
    for link in (each for pair in found for each in pair if each and not each.startswith("http")):
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else {**PAGES, **OTHERS}[name]
        if target.is_relative_to(DOCS / "reference"):
            target = reference / target.relative_to(DOCS / "reference")
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(re.sub(r"[.:]", "-", target.read_text(encoding="utf-8"))), link


def test_every_page_is_in_the_table_of_contents(reference: Path) -> None:
    listed = set(re.findall(r"^((?:\w+/)+\w+)$", TEXTS["index.md"], re.MULTILINE))
    written = {f"reference/{path.relative_to(reference).with_suffix('')}" for path in reference.rglob("*.md")}
    tops = {"reference/layers/index", "reference/keys", "reference/api/index"}
    assert tops <= written
    assert listed == {name.removesuffix(".md") for name in PAGES} - {"index"} | tops
    for folder in ("layers", "api"):
        text = (reference / folder / "index.md").read_text(encoding="utf-8")
        assert set(text.rpartition("hidden:")[2].split()) - {"```"} == {
            path.stem for path in (reference / folder).glob("*.md") if path.stem != "index"
        }


def test_every_kind_of_layer_has_its_page(reference: Path) -> None:
    kinds = {kind for kind, layer in LayerSpec.members.items() if layer.__module__.startswith("e3frame.")}
    assert {path.stem for path in (reference / "layers").glob("*.md")} == kinds | {"index"}
    for kind in kinds:
        text = (reference / "layers" / f"{kind}.md").read_text(encoding="utf-8")
        layer = LayerSpec.members[kind]
        assert layer.equation, f"{kind} has no equation"
        assert layer.equation in text
        assert "<svg" in text
        assert all(f"| `{key}` |" in text for key in layer.model_fields if key != "kind")


def test_every_key_is_documented(reference: Path) -> None:
    """Of runs, searches and layers, with the specs and the kinds of any family that are values of their keys."""
    text = (reference / "keys.md").read_text(encoding="utf-8")
    text += "".join(path.read_text(encoding="utf-8") for path in (reference / "layers").glob("*.md"))
    assert "|  |\n" not in text, "a key without a docstring"
    seen: set[type[Spec]] = set()
    todo: list[type[Spec]] = [RunConfig, SweepSpec, *LayerSpec.members.values()]
    while todo:
        spec = todo.pop()
        if spec in seen or not spec.__module__.startswith("e3frame."):
            continue
        seen.add(spec)
        todo += [*keys.members(spec).values(), *keys.nested(spec).values()]
        assert all(f"| `{key}` |" in text for key in spec.model_fields if key != "kind"), spec
        assert keys.prose(keys.summary(spec)) in text or spec is RunConfig or spec is SweepSpec, spec
    assert {family for family in Kinded.families() if family is not LayerSpec} <= seen
    assert len(seen) >= 60


def offered(module: str) -> set[str]:
    """What is on the page of a module."""
    content = vars(import_module(module))
    own = [name for name, value in content.items() if getattr(value, "__module__", None) == module]
    shown = modules.MEMBERS.get(module) or content.get("__all__") or [name for name in own if name[0] != "_"]
    return {*shown, *(name.rpartition(".")[2] for name in modules.ALSO.get(module, ()))}


def test_every_public_module_has_its_page(reference: Path) -> None:
    public = modules.modules()
    packages = {"e3frame.o3", "e3frame.nn", "e3frame.math", "e3frame.io", "e3frame.viz", "e3frame.kernels", "e3frame"}
    assert packages <= set(public)
    assert all(import_module(module).__doc__ for module in public)
    assert {path.stem for path in (reference / "api").glob("*.md")} == {*public, "index"}
    assert {"E3FrameCalculator"} == offered("e3frame.inference.calculator")
    assert {"Predictor", "Graph"} == offered("e3frame.inference.predictor")
    assert set(e3frame.__all__) <= offered("e3frame") | {"UserError"}


@pytest.mark.parametrize("module", modules.modules())
def test_what_modules_offer_is_documented(module: str) -> None:
    """Sphinx leaves out what has no docstring."""
    for name in offered(module):
        value = getattr(import_module(module), name, None)
        assert value is None or not callable(value) or (value.__doc__ or "").strip(), name


def test_what_pages_import_is_in_the_reference() -> None:
    code = "\n".join(text for name, text in TEXTS.items() if name != "changelog.md")
    imports = re.findall(r"^\s*from (e3frame[\w.]*) import ([\w, ]+)$", code, re.MULTILINE)
    assert len(imports) >= 10
    for module, names in imports:
        for name in names.split(", "):
            assert f"{module}.{name}" in modules.modules() or name in offered(module), f"{module}.{name}"


def test_what_functions_take_and_return_is_in_the_reference() -> None:
    """The classes in signatures of the functions for users, and in the fields of what they return."""
    entries = {(each, name) for each in modules.modules() for name in offered(each)}
    documented = {name for _, name in entries} | {spec.__name__ for spec in (RunConfig, TaskSpec, Units)}
    users = [(each, name) for each, name in entries if each in modules.MODULES["Models and runs"]]
    found: set[str] = set()
    for each, name in users:
        value = getattr(import_module(each), name, None)
        for called in [value] if isfunction(value) else vars(value or object).values():
            if (isfunction(called) and called.__name__[0] != "_") or called is value:
                found |= set(re.findall(r"[A-Za-z]\w+", " ".join(map(str, called.__annotations__.values()))))
    for name in modules.ALSO["e3frame"]:
        module, _, kind = f"e3frame.{name}".rpartition(".")
        fields = vars(import_module(module))[kind].__annotations__.values()
        found |= set(re.findall(r"[A-Za-z]\w+", " ".join(map(str, fields))))
    ours = {name for path in (ROOT / "e3frame").rglob("*.py") for name in CLASS.findall(path.read_text("utf-8"))}
    assert {"Evaluation", "Model", "TypedRun", "Graph"} <= found & ours
    assert (found & ours) - documented == {"Path"}  # pathlib's; one of our classes has this name


CLASS = re.compile(r"^class ([A-Z]\w+)", re.MULTILINE)


def test_the_floors_are_those_of_the_package() -> None:
    source = (ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8")
    names: dict[str, list[str]] = {}
    exec(re.search(r"^FLOORS = \[.*?^\]$", source, re.DOTALL | re.MULTILINE)[0], names)
    table = TEXTS["extend/architecture.md"].partition("| floor |")[2]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE) == names["FLOORS"][:-1]


def commands() -> list[str]:
    """What plain blocks call e3frame with."""
    lines = [line for _, block in blocks("", "bash") for line in block.replace("\\\n", "").splitlines()]
    calls = {line.removeprefix("srun ").partition(" #")[0].strip() for line in lines}
    return sorted(call for call in calls if call.startswith("e3frame "))


@pytest.mark.parametrize("command", commands())
def test_commands_are_right(command: str, mine: str) -> None:
    """Verbs exist; what is trained or checked is well-typed."""
    verb, *words = shlex.split(command)[1:]
    assert verb in VERBS
    words = [word for word in words if not word.startswith("--") and word != "..."]
    if verb not in ("train", "check") or not words or "=" not in words[-1]:
        return
    if words[0] == "-m":
        checked([word for word in words[1:] if not word.startswith("hydra")], mine)
        return
    first = [] if "=" in words[0] else [words.pop(0)]
    words = [word for word in words if not word.startswith(("plugins=", "init."))]
    for start in first:
        assert start.startswith(("runs/", "mine"))
    if any(word in ("logger=mlflow", "logger=wandb") for word in words):
        pytest.importorskip("mlflow")
    load_run(expanded(words, mine), mine)


def test_commands_were_found() -> None:
    assert len(commands()) >= 20


@pytest.mark.parametrize(("name", "block"), blocks("yaml"))
def test_configs_are_right(name: str, block: str) -> None:
    raw = yaml.safe_load(block)
    if "layers" in raw:
        typed = parse_yaml(block, name).parse(ModelSpec, ModelSpec.typed).typed()
        assert not typed.warnings
    elif "targets" in raw:
        validate(TaskSpec, raw)
    else:
        validate(SweepSpec, {"name": "search", **raw})


def test_the_first_model_is_that_of_the_readme() -> None:
    assert MINE in TEXTS["start/first_model.md"]


@pytest.mark.parametrize(("name", "block"), blocks("python"))
def test_python_is_right(name: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports are; what neither trains nor reads a file runs."""
    for module, members in re.findall(r"^from (\S+) import (.+)$", block, re.MULTILINE):
        assert all(
            hasattr(import_module(module), each) or import_module(f"{module}.{each}") for each in members.split(", ")
        )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mine.yaml").write_text(MINE, encoding="utf-8")
    compile(block, name, "exec")
    if not re.search(r"train\(|load_model\(", block):
        try:
            exec(block, {"__name__": "page"})
        finally:
            for family in Kinded.families():
                for kind in [kind for kind, member in family.members.items() if member.__module__ == "page"]:
                    del family.members[kind]


@pytest.mark.parametrize(
    ("old", "new"), [("gate(16x0e + 16x1o + 8x2e)", "8x3e"), ("16x1o", "16x1")], ids=["reach", "syntax"]
)
def test_the_errors_are_what_they_say(old: str, new: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(MINE.replace(old, new, 1), "configs/model/mine.yaml").parse(ModelSpec, ModelSpec.typed)
    assert f"```\n{caught.value}\n```" in TEXTS["start/errors.md"]


def test_the_levels_of_md17() -> None:
    """Both texts name each level but the default, and the config its molecules."""
    text = (ROOT / "configs" / "data" / "md17.yaml").read_text(encoding="utf-8")
    (said,) = re.findall(r"level: dft # .*; ccsd for (.*); fhi_aims for (.*)", text)
    for level, molecules in zip(("ccsd", "fhi_aims"), said, strict=True):
        assert re.search(rf"`(data\.level=)?{level}`", TEXTS["guide/data.md"])
        with pytest.raises(SpecErrors) as caught:
            validate(Md17Spec, {"molecule": "uracil", "level": level})
        hint = str(caught.value.errors[0]).partition("available for ")[2]
        assert sorted(hint.split(", ")) == molecules.split(", ")


def test_every_result_says_how_it_is_run() -> None:
    table = TEXTS["guide/accuracy.md"].split("| what | run with | energy, meV per molecule")[1].split("\n\n")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines()[2:]]
    assert len(rows) >= 4
    assert all("`" in row[1] for row in rows)


def test_the_table_of_data_keys() -> None:
    keys = set(re.findall(r"(data\.[a-z_.]+)=", TEXTS["guide/data.md"]))
    assert len(keys) >= 8
    known = {name for member in DataSpec.members.values() for name in member.model_fields}
    assert {key.split(".")[1] for key in keys} <= known
    assert {"model", "data", "task", "name"} <= set(RunConfig.model_fields)
    load_run(["data=xyz", "data.path=[a.xyz,b.extxyz]", "data.split.val=50", "data.split.train=950"])
    load_run(["data=xyz", "data.path=a.xyz", "data.units.energy=Hartree", "data.units.length=bohr"])


def test_the_targets_it_shows() -> None:
    raw = next(block for _, block in blocks("yaml") if block.startswith("targets:"))
    task = validate(TaskSpec, yaml.safe_load(raw))
    assert task.targets["forces"].last_weight == 10
    assert {name: str(target.type.irreps) for name, target in task.targets.items()} == {
        "energy": "1x0e",
        "forces": "1x1o",
        "stress": "1x0e+1x2e",
        "dipole": "1x1o",
        "polarizability": "1x0e+1x2e",
        "shielding": "1x0e+1x1e+1x2e",
        "charges": "1x0e",
    }
