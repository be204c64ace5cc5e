"""The recipes of CONTRIBUTING.md, as packages outside e3frame: built as they are printed there, and trained with."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write

from e3frame.cli import main
from e3frame.config.header import Header
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.saved import load_model
from e3frame.kernels import backends
from e3frame.spec.errors import FileError
from e3frame.spec.plugins import Origin, installed
from e3frame.spec.quantities import QUANTITIES
from e3frame.spec.registry import Kinded

GUIDE = Path(__file__).parents[2] / ".github" / "CONTRIBUTING.md"
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |^## |\Z)", GUIDE.read_text(encoding="utf-8"), re.M | re.S))
PROJECT = re.search(r"^```toml\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
NAMED = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```\w+\n(.*?)^```", re.M | re.S)
COMMAND = re.compile(r"^```\n(e3frame .*?)\n```", re.M | re.S)
FAST = ["trainer.max_epochs=1", "trainer.max_steps=3", "trainer.num_threads=1", "data.batch_size=4", "folder=run"]
SMALL = ["model.irreps.hidden=4x0e + 4x1o", "model.irreps.edge=0e + 1o"]

Cook = Callable[[str], list[str]]


@pytest.fixture
def cook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[Cook]:
    """Build the package of a recipe, installed as pip would do it, and return the words of its command."""
    site, modules = tmp_path / "site", set(sys.modules)
    quantities, known = set(QUANTITIES), set(backends.BACKENDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("E3FRAME_CACHE", cache)

    def build(recipe: str) -> list[str]:
        files = dict(NAMED.findall(SECTIONS[recipe]))
        module = next(name for name in files if name.endswith(".py"))
        assert PROJECT is not None
        project = tomllib.loads(PROJECT[1])
        about = project["project"]
        ((group, entries),) = about["entry-points"].items()
        for name, text in files.items():
            path = site / name if name == module else tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        (info / "METADATA").write_text(head, encoding="utf-8")
        lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))
        assert module.removesuffix(".py") in installed()
        command = COMMAND.search(SECTIONS[recipe])
        assert command is not None
        words = shlex.split(command[1].replace("\\\n", ""))
        assert words[:2] == ["e3frame", "train"]
        return words[1:]

    yield build
    own = {name for name in set(sys.modules) - modules if name.startswith("my_")}
    for family in Kinded.families():
        for kind in [kind for kind, member in family.members.items() if member.__module__.startswith("my_")]:
            del family.members[kind]
    for name in own:
        del sys.modules[name]
    for name in set(QUANTITIES) - quantities:
        del QUANTITIES[name]
    for name in set(backends.BACKENDS) - known:
        backends.unregister(name)


def trained(command: list[str], *overrides: str) -> Header:
    """Run the command with overrides that make it short, and read the file that it leaves."""
    assert main([*command, *FAST, *overrides]) == 0
    return Header.read("run")


def test_every_recipe_is_here() -> None:
    recipes = [name for name, text in SECTIONS.items() if NAMED.search(text)]
    assert recipes == [
        *("A layer", "A file format", "A loss", "An optimizer", "A physical quantity", "A kernel backend"),
    ]


def test_a_layer(cook: Cook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    header = trained(cook("A layer"), *SMALL, "data.num_train=20")
    assert header.spec.plugins == ("my_layer",)
    assert header.origins == {"my_layer": Origin("my-kinds", "1.0")}
    model = load_model("run")
    assert not torch.equal(model.layers["scaled"].gain, torch.ones(4))
    # Where the plugin is not installed, the file says what it needs, and imports nothing.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "my_layer")
    with pytest.raises(FileError) as caught:
        load_model("run")
    assert str(caught.value) == (
        f"{Path('run/model.safetensors')}\n"
        "  its layers need the plugin my_layer (my-kinds 1.0), which is not installed: no entry point of "
        "e3frame.plugins has this name\n"
        "  if you trust it: plugins=my_layer on the command line, plugins=['my_layer'] in Python\n"
        "  if you trust the package: pip install my-kinds==1.0"
    )
    with pytest.raises(FileError, match=r"1.0\): the plugin my_layer cannot be imported: No module named"):
        load_model("run", plugins=["my_layer"])
    assert "my_layer" not in sys.modules


def test_a_file_format(cook: Cook) -> None:
    rows = "".join(f"N,O,{1 + 0.01 * k},{k}\n" for k in range(20))
    Path("dimers.csv").write_text(rows, encoding="utf-8")
    header = trained(cook("A file format"), "data.split={val: 2, test: 2}")
    assert header.spec.species == ("N", "O")
    assert header.spec.plugins == ()  # no model needs the format that it was trained on
    assert yaml.safe_load(Path("run/config.yaml").read_text(encoding="utf-8"))["plugins"] == ["my_format"]


def test_a_loss(cook: Cook) -> None:
    header = trained(cook("A loss"), *SMALL, "data.num_train=20")
    assert header.task is not None
    loss = header.task.targets["forces"].loss_spec
    assert (loss.kind, loss.model_dump()["width"]) == ("log_cosh", 0.2)
    d = torch.tensor([0.0, 0.02, -5.0], dtype=torch.float64)
    torch.testing.assert_close(loss.each(d), torch.log(torch.cosh(d / 0.2)))


def test_an_optimizer(cook: Cook) -> None:
    header = trained(cook("An optimizer"), *SMALL, "data.num_train=20", "trainer.ema_decay=null")
    assert header.spec.plugins == ()
    model = load_model("run")
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_physical_quantity(cook: Cook) -> None:
    random = np.random.default_rng(0)
    frames = []
    for _ in range(20):
        atoms = Atoms("OH2", np.eye(3) + random.normal(scale=0.05, size=(3, 3)))
        atoms.info["energy"] = random.normal()
        atoms.arrays |= {"forces": random.normal(size=(3, 3)), "magmoms": random.normal(size=3)}
        frames.append(atoms)
    write("train.xyz", frames)
    header = trained(cook("A physical quantity"), *SMALL, "data.units.magnetic_moments=au", "data.preflight=off")
    assert header.task is not None
    assert header.task.unit("magnetic_moments") == "μB"
    atoms = frames[0].copy()
    atoms.calc = E3FrameCalculator("run")
    assert atoms.get_magnetic_moments().shape == (3,)
    assert "magmoms" in atoms.calc.implemented_properties


def test_a_kernel_backend(cook: Cook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = cook("A kernel backend")
    assert "`E3FRAME_BACKEND=matmul`" in SECTIONS["A kernel backend"]
    monkeypatch.setenv("E3FRAME_BACKEND", "matmull")
    assert main([*command, *FAST, *SMALL]) == 1
    assert "must be one of auto, matmul, cuequivariance, native, reference; got 'matmull'" in capsys.readouterr().err
    assert list(Path("run").iterdir()) == []
    monkeypatch.setenv("E3FRAME_BACKEND", "matmul")
    trained(command, *SMALL, "data.num_train=20")
    linear = load_model("run").layers["readout"]
    assert backends.find("linear", linear.plan) == ("matmul", "reference")
    assert main(["info", "plugins=my_backend"]) == 0
    assert "matmul, as E3FRAME_BACKEND says" in capsys.readouterr().out
    monkeypatch.delenv("E3FRAME_BACKEND")
    assert backends.find("linear", linear.plan)[0] == "matmul"
    x = torch.randn(3, 16)
    found = linear(x)
    with backends.use("reference"):
        torch.testing.assert_close(found, linear(x))
