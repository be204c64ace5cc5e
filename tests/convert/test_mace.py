"""Models of mace-torch give the same energies, forces and stresses after their conversion."""

from __future__ import annotations

import json
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from support.mace import ARCHIVE

from e3frame.cli import main
from e3frame.convert.archive import opened_archive
from e3frame.convert.conversion import convert
from e3frame.convert.records import Record, tensors
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.saved import load_model
from e3frame.spec.errors import UserError

NAMES = (
    *("scalars", "vectors", "tensors", "tensors_3", "mace", "mace_zbl", "density", "deep", "single", "chebyshev"),
    *("quartic", "low head", "high head"),
)


@pytest.fixture(scope="session")
def converted(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The converted model of a name, made once."""
    folder = tmp_path_factory.mktemp("converted")

    def made(name: str) -> Path:
        out, head = folder / f"{name}.safetensors", name.partition(" ")[0] if " " in name else None
        if not out.exists():
            convert(models / f"{'heads' if head else name}.model", out, head=head)
        return out

    return made


def references(models: Path, name: str) -> list[dict[str, Any]]:
    known = json.loads((models / "references.json").read_text(encoding="utf-8"))
    if name in known:
        return known[name]
    return [each for each in known["heads"] if each["head"] == name.partition(" ")[0]]


def structure(reference: dict[str, Any]) -> Atoms:
    cell = reference["cell"]
    return Atoms(reference["numbers"], reference["positions"], cell=cell, pbc=cell is not None)


def computed(model: Path, atoms: Atoms, dtype: str, names: Any) -> dict[str, Any]:
    atoms.calc = E3FrameCalculator(model, dtype=dtype)
    results = {"energy": lambda: atoms.get_potential_energy(), "forces": lambda: atoms.get_forces()}
    results["stress"] = lambda: atoms.get_stress(voigt=False)
    return {name: np.asarray(results[name]()) for name in names}


def test_every_model_is_compared(models: Path) -> None:
    known = json.loads((models / "references.json").read_text(encoding="utf-8"))
    assert set(known) == {path.stem for path in models.glob("*.model")} == {*NAMES[:-2], "heads"}
    assert all(len(references(models, name)) == 2 for name in NAMES)
    assert ARCHIVE.stat().st_size < 300_000


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_mace_torch(name: str, models: Path, converted: Callable[[str], Path]) -> None:
    """In float64 up to rounding, relative to the largest value. A file in float32 has its weights to seven digits."""
    bound = 1e-5 if name == "single" else 1e-12
    for reference in references(models, name):
        wanted = reference["float64"]
        assert name == "chebyshev" or ("stress" in wanted) == (reference["cell"] is not None)
        found = computed(converted(name), structure(reference), "float64", wanted)
        for quantity, value in found.items():
            scale = np.abs(wanted[quantity]).max()
            assert scale > 1e-6
            np.testing.assert_allclose(value, wanted[quantity], rtol=0, atol=bound * scale, err_msg=quantity)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_as_good_as_that_of_mace_torch(
    name: str, models: Path, converted: Callable[[str], Path]
) -> None:
    """Results in float32 are those of mace-torch in float64 to 1e-5; of those in float32, as far as it rounds less."""
    for reference in references(models, name):
        exact, rounded = reference["float64"], reference["float32"]
        found = computed(converted(name), structure(reference), "float32", exact)
        for quantity, value in found.items():
            scale = np.abs(exact[quantity]).max()
            theirs = np.abs(np.subtract(rounded[quantity], exact[quantity])).max()
            np.testing.assert_allclose(value, exact[quantity], rtol=0, atol=1e-5 * scale, err_msg=quantity)
            np.testing.assert_allclose(value, rounded[quantity], rtol=0, atol=1e-5 * scale + theirs, err_msg=quantity)


def test_a_model_of_float32_stays_so(converted: Callable[[str], Path]) -> None:
    assert load_model(converted("single")).dtype == torch.float32
    assert load_model(converted("scalars")).dtype == torch.float64
    assert load_model(converted("single")).spec.r_max == 3.5


def test_another_type_of_weights(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    assert convert(models / "single.model", out, dtype="float64").converted.dtype == "float64"
    assert load_model(out).dtype == torch.float64
    with pytest.raises(UserError, match="no such floating-point type"):
        convert(models / "single.model", tmp_path / "n.safetensors", dtype="float63")


def test_the_spec_is_yaml_of_our_layers(converted: Callable[[str], Path]) -> None:
    spec = load_model(converted("vectors")).spec
    kinds = {name: layer.kind for name, layer in spec.layers.items()}
    assert kinds == {
        "species": "species_embedding",
        "edge_vectors": "edge_vectors",
        "edge_sh": "spherical_harmonics",
        "radial": "radial_basis",
        "message_1": "convolution",
        "product_1": "symmetric_product",
        "kept_1": "species_embedding",
        "parts_1": "concatenate",
        "features_1": "linear",
        "message_2": "convolution",
        "product_2": "symmetric_product",
        "updated_2": "linear",
        "kept_2": "linear",
        "features_2": "add",
        "energy_1": "linear",
        "energy_2": "mlp",
        "repulsion": "zbl",
        "atomic_energy": "add",
    }
    assert spec.species == ("H", "C", "O")
    assert list(spec.outputs) == ["energy", "forces"]


def test_the_command(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.safetensors"
    assert main(["convert", str(models / "heads.model"), "head=low", "-o", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "family mace-torch 0.3.16 weights" in said
    assert "species H O" in said
    assert "r_max 3.5 Å" in said
    assert "model ScaleShiftMACE of 2 interactions head low, of low, high" in said
    assert "names in the file, of builtins, collections, e3nn, mace, torch" in said
    assert "licence the file states none" in said
    assert said.endswith(f"wrote {out}")
    assert main(["info", str(out)]) == 0
    assert "converted from mace-torch 0.3.16" in " ".join(capsys.readouterr().out.split())
    assert main(["convert", str(models / "heads.model"), str(out)]) == 1
    assert capsys.readouterr().err == f"{out} exists\n  choose another name, or overwrite=true to replace it\n"


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mace mace-torch 0.3.16 MACE and ScaleShiftMACE" in said


def test_the_output_is_named_once(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(models / "mace.model"), "-o", "a.safetensors", "out=b.safetensors"]) == 1
    said = "command-line option -o\n  the file to write is given twice\n  remove -o or out=\n"
    assert capsys.readouterr().err == said


def changed(models: Path, name: str, path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """A model whose pickle has other bytes in some places, each of which occurs."""
    with zipfile.ZipFile(models / f"{name}.model") as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith("data.pkl"):
                for before, after in changes:
                    assert before in content, before
                    content = content.replace(before, after)
            new.writestr(entry, content)
    return path


def text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


BLOCKS = "mace.modules.blocks"
WRONG: dict[str, tuple[str, list[tuple[bytes, bytes]], str]] = {
    "another model": (
        "mace",
        [(named("mace.modules.models", "MACE"), named("mace.modules.models", "AtomicDipolesMACE"))],
        "AtomicDipolesMACE is not known, only MACE and ScaleShiftMACE",
    ),
    "another interaction": (
        "mace",
        [
            (
                named(BLOCKS, "RealAgnosticInteractionBlock"),
                named(BLOCKS, "RealAgnosticResidualNonLinearInteractionBlock"),
            )
        ],
        "interactions.0: RealAgnosticResidualNonLinearInteractionBlock is not known here, only RealAgnosticInteraction"
        "Block, RealAgnosticDensityInteractionBlock, RealAgnosticResidualInteractionBlock, RealAgnosticDensityResidual"
        "InteractionBlock",
    ),
    "another readout": (
        "mace",
        [(named(BLOCKS, "LinearReadoutBlock"), named(BLOCKS, "LinearDipoleReadoutBlock"))],
        "readouts.0: LinearDipoleReadoutBlock is not known here",
    ),
    "another basis": (
        "mace",
        [(named("mace.modules.radial", "BesselBasis"), named("mace.modules.radial", "WaveBasis"))],
        "radial_embedding.bessel_fn: WaveBasis is not known here",
    ),
    "another function": (
        "mace",
        [(named("torch.nn.functional", "silu"), named("torch.nn.functional", "relu"))],
        "interactions.0.conv_tp_weights.layer0.act.f: this function is not known here: torch.nn.functional.relu",
    ),
    "a tensor that nothing reads": (
        "mace",
        [(text("num_interactions"), text("num_interaction2"))],
        "num_interactions: this attribute is missing",
    ),
    "an unknown tensor": (
        "mace_zbl",
        [(text("a_exp"), text("b_exp"))],
        "pair_repulsion_fn.a_exp: this attribute is missing",
    ),
    "code": (
        "mace",
        [(named("torch.nn.functional", "silu"), named("os", "system"))],
        "it names os.system, which no model of mace-torch 0.3.16 does; nothing of it was run",
    ),
    "much code": (
        "deep",
        [
            (named("torch.nn.functional", "silu"), named("os", "system")),
            (named("__builtin__", "set"), named("__builtin__", "eval")),
            (named("torch.fx._symbolic_trace", "Tracer"), named("shutil", "rmtree")),
            (named("mace.modules.radial", "GaussianBasis"), named("runpy", "run_path")),
        ],
        "it names builtins.eval, runpy.run_path, os.system and 1 more, which no model of mace-torch 0.3.16 does; "
        "nothing of it was run",
    ),
    "cuequivariance": (
        "mace",
        [(named("e3nn.o3._linear", "Linear"), named("cuequivariance_torch", "Linear"))],
        "it names cuequivariance_torch.Linear, which no model of mace-torch 0.3.16 does; nothing of it was run\n"
        "  mace_cueq_to_e3nn of mace-torch writes a model without cuequivariance",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_understood_is_named(name: str, models: Path, tmp_path: Path) -> None:
    model, changes, problem = WRONG[name]
    path, out = changed(models, model, tmp_path / "a.model", *changes), tmp_path / "m.safetensors"
    with pytest.raises(UserError) as caught:
        convert(path, out)
    assert str(caught.value) == f"{path}\n  not converted: {problem}"
    assert not out.exists()


def test_heads(models: Path, tmp_path: Path) -> None:
    path, out = models / "heads.model", tmp_path / "m.safetensors"
    problems = {None: "it has 2 heads: low, high\n  head=high", "x": "no head is named x\n  heads: low, high"}
    for head, problem in problems.items():
        with pytest.raises(UserError) as caught:
            convert(path, out, head=head)
        assert str(caught.value) == f"{path}\n  not converted: {problem}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            {"model": {"products.0.linear.weight": torch.zeros(2)}, "optimizer": {}},
            "a checkpoint of mace-torch does not say what the model is, such as its avg_num_neighbors\n"
            "  convert the .model file of the same training",
        ),
        (
            {"weights": torch.zeros(2)},
            "it holds a dict of values, which is no model of a known family\n"
            "  e3frame convert --list shows what is read",
        ),
        (
            torch.nn.Linear(2, 2),
            "it holds a torch.nn.modules.linear.Linear, which is no model of a known family\n"
            "  e3frame convert --list shows what is read",
        ),
    ],
)  # fmt: skip
def test_other_contents(content: Any, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.model"
    torch.save(content, path)
    with pytest.raises(UserError) as caught:
        convert(path, tmp_path / "m.safetensors")
    assert str(caught.value) == f"{path}\n  not converted: {problem}"


def test_a_tensor_that_nothing_reads(models: Path, tmp_path: Path) -> None:
    """Any parameter under another name is missing, or is named as not understood."""
    with opened_archive(models / "mace_zbl.model") as archive:
        assert isinstance(archive.found.root, Record)
        names = {name.rpartition(".")[2] for name, each in tensors(archive.found.root) if 0 not in each.shape}
    assert len(names) > 15
    for name in sorted(name for name in names if name != "output_mask" and not name.startswith("U_matrix")):
        path = changed(models, "mace_zbl", tmp_path / "a.model", (text(name), text(f"{name}_")))
        with pytest.raises(UserError) as caught:
            convert(path, tmp_path / "m.safetensors")
        assert name in str(caught.value)


def test_numbers_of_numpy(models: Path, tmp_path: Path) -> None:
    """Some trainings leave avg_num_neighbors as a number of NumPy."""
    with zipfile.ZipFile(models / "mace.model") as archive:
        content = archive.read("archive/data.pkl")
    at = content.index(b"G", content.index(text("avg_num_neighbors")) + 20)
    (value,) = struct.unpack(">d", content[at + 1 : at + 9])
    number = pickletools.optimize(pickle.dumps(np.float64(value), 2))[2:-1]
    path = changed(models, "mace", tmp_path / "a.model", (content[at : at + 9], number))
    convert(path, tmp_path / "numpy.safetensors")
    convert(models / "mace.model", tmp_path / "m.safetensors")
    assert (tmp_path / "numpy.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
