"""What is said of data before training: each mistake in known data is found and named, and the data themselves pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from e3frame.cli import main
from e3frame.data.dataset import GraphDataset, Splits
from e3frame.data.graphs import Graph, make_graph
from e3frame.data.preflight.duplicates import check_duplicates
from e3frame.data.preflight.energies import check_energies
from e3frame.data.preflight.findings import Finding
from e3frame.data.preflight.gradient import check_belonging, check_gradient
from e3frame.data.preflight.look import Asked, look, require_sound
from e3frame.data.preflight.stress import check_stress
from e3frame.data.preflight.tensors import check_frame
from e3frame.data.sample import LABELS
from e3frame.data.specs import Label, SampleSpec, XyzSpec
from e3frame.data.units import ENERGY, LENGTH, PRESSURE
from e3frame.spec.errors import DataError


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return SampleSpec(cache_dir=str(tmp_path_factory.mktemp("sample"))).load(4.0, LABELS)


@pytest.fixture(scope="module")
def graphs(splits: Splits) -> list[Graph]:
    """Two hundred frames that do not follow each other."""
    return [splits.train[k] for k in range(0, 1800, 9)]


def changed(graphs: list[Graph], **factors: float) -> list[Graph]:
    copies = [graph.clone() for graph in graphs]
    for graph in copies:
        for key, factor in factors.items():
            graph[key] = graph[key] * factor
    return copies


def test_sound_data_pass(splits: Splits) -> None:
    findings = look(splits, Asked(LABELS, "energy", "forces"))
    assert {finding.level for finding in findings} == {"ok"}
    require_sound(findings)


def test_a_gradient_in_place_of_the_force(graphs: list[Graph]) -> None:
    found = check_gradient(changed(graphs, forces=-1.0))
    assert found.level == "error"
    assert found.text.startswith("the forces are the gradient of the energy, not its negative (slope -")
    with pytest.raises(DataError, match=r"(?s)not its negative.*data.preflight=warn trains all the same"):
        require_sound([found])


KCAL, HARTREE, ATOMIC = ENERGY["kcal/mol"], ENERGY["Hartree"], ENERGY["Hartree"] / LENGTH["bohr"]
UNITS = {
    "energies are in kcal/mol and forces in eV/Å": (1 / KCAL, 1.0),
    "energies are in eV and forces in kcal/mol/Å": (1.0, 1 / KCAL),
    "energies are in Hartree and forces in eV/Å": (1 / HARTREE, 1.0),
    "energies are in eV and forces in Hartree/bohr": (1.0, 1 / ATOMIC),
    "energies are in kcal/mol and forces in Hartree/bohr": (1 / KCAL, 1 / ATOMIC),
}


@pytest.mark.parametrize("mistake", UNITS)
def test_units_that_do_not_fit(mistake: str, graphs: list[Graph]) -> None:
    energy, forces = UNITS[mistake]
    found = check_gradient(changed(graphs, energy=energy, forces=forces))
    assert found.level == "error"
    assert found.text.startswith("the forces do not fit the energy: a factor of ")
    assert mistake in found.hint


def test_units_that_fit_are_let_pass(graphs: list[Graph]) -> None:
    assert check_gradient(changed(graphs, energy=1 / KCAL, forces=1 / KCAL)).level == "ok"
    assert check_gradient(graphs[:5]).level == "note"
    unrelated = changed(graphs)
    values = np.random.default_rng(0).normal(size=len(unrelated))
    for graph, value in zip(unrelated, values, strict=True):
        graph.energy = torch.tensor([value])
    found = check_gradient(unrelated)
    assert found.level == "warning"
    assert found.text.startswith(
        "between frames that are nearly the same, the energy does not change as the forces say"
    )


def _shuffled_atoms(graphs: list[Graph], rng: np.random.Generator) -> None:
    for graph in graphs:
        graph.forces = graph.forces[rng.permutation(graph.num_nodes)]


def _of_other_frames(graphs: list[Graph], rng: np.random.Generator) -> None:
    kinds = [graph.z.tolist() for graph in graphs]
    order = {k: [j for j, kind in enumerate(kinds) if kind == kinds[k]] for k in range(len(graphs))}
    forces = [graphs[rng.choice(order[k])].forces for k in range(len(graphs))]
    for graph, other in zip(graphs, forces, strict=True):
        graph.forces = other


def _other_axes(graphs: list[Graph], rng: np.random.Generator) -> None:
    for graph in graphs:
        graph.forces = graph.forces[:, [1, 2, 0]]


@pytest.mark.parametrize("shuffle", [_shuffled_atoms, _of_other_frames, _other_axes])
def test_forces_that_have_nothing_to_do_with_the_positions(shuffle: Callable, graphs: list[Graph]) -> None:
    sound = check_belonging(graphs)
    assert sound.level == "ok"
    assert sound.text == "forces between pairs of atoms explain 80% of the forces"
    copies = changed(graphs)
    shuffle(copies, np.random.default_rng(0))
    found = check_belonging(copies)
    assert found.level == "error"
    assert re.fullmatch(
        "the forces do not fit the positions: forces between pairs of atoms explain [0-4]% of the forces, as in "
        "shuffled data",
        found.text,
    )
    assert check_belonging(changed(copies, forces=0.001)).level == "warning"  # what a relaxation may leave
    assert check_belonging(graphs[:5]) is None


def test_energies_per_atom(graphs: list[Graph]) -> None:
    """By their sizes where molecules differ in it, else by the forces."""
    alkanes = [molecule(name) for name in ("CH4", "C2H2", "C2H4", "C2H6", "C3H8", "C6H6") for _ in range(5)]
    rng, energies = np.random.default_rng(0), {"H": -3.0, "C": -9.0}
    totals = [sum(energies[s] for s in atoms.symbols) + 0.3 * rng.normal() for atoms in alkanes]
    for per_atom in (False, True):
        values = [np.array([e / len(atoms) if per_atom else e]) for e, atoms in zip(totals, alkanes, strict=True)]
        made = [make_graph(atoms, 4.0, {"energy": e}) for atoms, e in zip(alkanes, values, strict=True)]
        said = [(f.level, f.text) for f in check_energies(GraphDataset.from_graphs(made), "energy", references=True)]
        text = "the energy does not grow with the number of atoms: it looks like an energy per atom"
        assert said == ([("error", text)] if per_atom else [])
    copies = changed(graphs[:50], energy=1 / graphs[0].num_nodes)  # ethanol
    found = check_gradient(copies)
    assert found.level == "error"
    assert "energies are per atom, not of the whole frame" in found.hint


def test_energies_that_lost_their_digits(graphs: list[Graph]) -> None:
    def said(change: Callable, references: bool = True) -> list[str]:
        copies = changed(graphs[:50])
        for graph in copies:
            graph.energy = change(graph.energy)
        return [found.text for found in check_energies(GraphDataset.from_graphs(copies), "energy", references)]

    (text,) = said(lambda energy: (energy - 17_000).float().double())
    assert re.fullmatch(
        r"the energy, of about -1730\d\.\d* eV, was stored in float32 \(in eV\): its steps of 2 meV are 1\.\d% of its "
        "deviation", text
    )  # fmt: skip
    (text,) = said(lambda energy: ((energy - 17_000) / KCAL).float().double() * KCAL)
    assert "was stored in float32 (in kcal/mol): its steps of 1.4 meV" in text
    (text,) = said(lambda energy: (energy / HARTREE).mul(1000).round().div(1000) * HARTREE)
    assert re.fullmatch(r"the energy was rounded to 0.001 Hartree, \d\d.\d% of its deviation", text)
    (text,) = said(lambda energy: energy - 17_000, references=False)
    assert text.endswith(
        "eV, but the model has no reference energies of the atoms: a float32 of this size moves in steps of 2 meV"
    )
    assert said(lambda energy: energy - 17_000) == said(lambda energy: energy - energy.round(), False) == []


@pytest.mark.parametrize("name", ["dipole", "polarizability"])
def test_a_tensor_of_another_orientation(name: str, graphs: list[Graph]) -> None:
    assert check_frame(graphs, name).level == "ok"
    rng, turned = np.random.default_rng(0), changed(graphs)
    for graph in turned:
        q = torch.from_numpy(np.linalg.qr(rng.normal(size=(3, 3)))[0])
        graph[name] = graph[name] @ q.T if name == "dipole" else q @ graph[name] @ q.T
    found = check_frame(turned, name)
    assert found.level == {"dipole": "warning", "polarizability": "error"}[name]
    assert "turn with the molecule: directions of bonds explain" in found.text
    assert check_frame(graphs[:20], name) is None


@pytest.fixture(scope="module")
def metal(tmp_path_factory: pytest.TempPathFactory) -> list[Graph]:
    """Sheared and shaken copper and gold with a stress of the effective medium theory; each atom sees its images."""
    rng, made = np.random.default_rng(0), []
    for k in range(80):
        atoms = bulk("Cu" if k % 2 else "Au", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress(), atoms.get_forces()
        made.append(atoms)
    path = tmp_path_factory.mktemp("metal") / "a.traj"
    write(path, made)
    labels = {"forces": Label("node", (3,)), "stress": Label("graph", (3, 3))}
    spec = XyzSpec(path=str(path), keys={"forces": "forces", "stress": "stress"}, split={"val": 0, "test": 0})
    train = spec.model_copy(update={"cache_dir": str(path.parent)}).load(5.0, labels).train
    return list(train)


def test_stress(metal: list[Graph]) -> None:
    def text(found: Finding) -> str:
        return f"{found.level}: {found.text} {found.hint}"

    assert text(check_stress(metal)).startswith("ok: sign, unit and order fit the forces")
    assert text(check_stress(changed(metal, stress=-1.0))).startswith("error: its sign is turned")
    gigapascal = text(check_stress(changed(metal, stress=1 / PRESSURE["GPa"])))
    assert gigapascal.startswith("error: it does not fit the forces: a factor of ")
    assert gigapascal.endswith("it looks as if it were in GPa: data.units.stress")
    shuffled = changed(metal)
    for graph in shuffled:
        s = graph.stress.clone()
        for (i, j), (a, b) in {(1, 2): (0, 1), (0, 2): (1, 2), (0, 1): (0, 2)}.items():
            graph.stress[:, i, j] = graph.stress[:, j, i] = s[:, a, b]
    said = text(check_stress(shuffled))
    assert said.startswith("error: its components are in the order xx, yy, zz, xy, yz, xz (VASP)")


STRESSES = {
    "good": (1.0, "ok: sign, unit and order fit the energies of strained cells"),
    "sign": (-1.0, "error: its sign is turned: it must be positive where the energy grows under stretching"),
    "GPa": (1 / PRESSURE["GPa"], "error: it does not fit the energies of strained cells: a factor of 1"),
    "kbar": (1 / PRESSURE["kbar"], "error: it does not fit the energies of strained cells: a factor of 1"),
}


@pytest.fixture(scope="module")
def strained() -> list[Graph]:
    """Cells of copper that differ by small strains; the atoms, at rest, have no forces."""
    rng, made = np.random.default_rng(0), []
    for _ in range(80):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.015 * symmetric(rng)), scale_atoms=True)
        atoms.calc = EMT()
        labels = {"energy": [atoms.get_potential_energy()], "stress": atoms.get_stress(voigt=False)[None]}
        made.append(make_graph(atoms, 5.0, labels))
    return made


def symmetric(rng: np.random.Generator) -> np.ndarray:
    matrix = rng.normal(size=(3, 3))
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("case", STRESSES)
def test_a_stress_without_forces(case: str, strained: list[Graph]) -> None:
    factor, said = STRESSES[case]
    found = check_stress(changed(strained, stress=factor), None, energy="energy")
    assert f"{found.level}: {found.text}".startswith(said)
    if case in PRESSURE:
        assert found.hint == f"it looks as if it were in {case}: data.units.stress"


def test_the_order_of_a_stress_without_forces(strained: list[Graph]) -> None:
    shuffled = changed(strained)
    for graph in shuffled:
        s = graph.stress.clone()
        for (i, j), (a, b) in {(1, 2): (0, 1), (0, 2): (0, 2), (0, 1): (1, 2)}.items():
            graph.stress[:, i, j] = graph.stress[:, j, i] = s[:, a, b]
    found = check_stress(shuffled, None, energy="energy")
    assert found.level == "error"
    assert found.text.startswith("its components are in the order xx, yy, zz, xy, xz, yz (LAMMPS), not in ASE's")


def test_a_stress_by_the_volume_alone(strained: list[Graph]) -> None:
    found = check_stress(strained, None)
    assert found.level == "ok"
    assert re.fullmatch(
        r"its sign fits the volumes \(a bulk modulus of 1[0-4]\d GPa\); its order was not told", found.text
    )
    assert check_stress(changed(strained, stress=-1.0), None).text.startswith("its sign is turned: it falls as the vol")
    found = check_stress(changed(strained, stress=1 / PRESSURE["GPa"]), None)
    assert found.level == "error"
    assert found.hint == "it looks as if it were in GPa or kbar: data.units.stress"
    assert check_stress(strained[:5], None).text == "too few periodic frames of one kind to judge it"


def test_frames_in_two_splits(splits: Splits) -> None:
    assert [(found.level, found.text) for found in check_duplicates(splits)] == [("ok", "none")]
    twins = [splits.val[k] for k in range(20)]
    q = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    for k in range(3):
        twins[k] = splits.train[k].clone()
        twins[k].pos = twins[k].pos @ q.T + (0.002 * torch.randn(twins[k].pos.shape) if k == 2 else 0.0)
    twins[0] = renumbered(twins[0])
    (found,) = check_duplicates(Splits(splits.train, GraphDataset.from_graphs(twins, splits.val.files), None))
    assert found.level == "warning"
    assert "3 of 20 val frames are in training too (2 identical, 1 nearly identical)" in found.text


def renumbered(graph: Graph) -> Graph:
    order = torch.arange(graph.num_nodes - 1, -1, -1)
    graph = graph.clone()
    graph.pos, graph.z, graph.forces = graph.pos[order], graph.z[order], graph.forces[order]
    graph.edge_index = graph.num_nodes - 1 - graph.edge_index
    return graph


def test_every_frame_is_compared(splits: Splits) -> None:
    """Also the one that a look at every other frame would pass over; and copies within the training frames."""
    many = [splits.train[k % 450] for k in range(449)] * 9
    many[4_001] = splits.val[7].clone()
    val = splits.val[:50]  # ethanol
    said = [found.text for found in check_duplicates(Splits(GraphDataset.from_graphs(many), val, None))]
    assert said[0] == (
        "1 of 50 val frames are in training too (1 identical, 0 nearly identical): frame 457 of data=sample is frame "
        "457 of memory"
    )
    assert said[1].startswith("4040 of 4041 training frames are there more than once: frame 0 of memory is frame 0 of")


def test_outliers_and_mixed_periodicity_are_told(splits: Splits) -> None:
    copies = [splits.train[k].clone() for k in range(100)]
    copies[7].energy = copies[7].energy + 500.0
    copies[8].pbc = torch.tensor([[True, True, True]])
    dataset = GraphDataset.from_graphs(copies)
    findings = look(Splits(dataset, None, None), Asked({"energy": LABELS["energy"]}, species=("H", "C")))
    said = {finding.check: (finding.level, finding.text) for finding in findings}
    assert said["periodicity"] == (
        "warning",
        "99 frames not periodic, 1 frame periodic; C2H6O: 1 periodic (frame 8 of memory), 99 otherwise",
    )
    copies[8] = splits.train[1700].clone()  # furan
    copies[8].pbc = torch.tensor([[True, True, False]])
    findings = look(Splits(GraphDataset.from_graphs(copies), None, None), Asked({}))
    assert findings[0] == Finding(
        "periodicity",
        "ok",
        "99 frames not periodic, 1 frame periodic along a and b "
        "(different compounds; only periodic frames have a stress)",
    )
    assert said["elements"] == ("error", "the model does not know O")
    assert said["energy"][0] == "warning"
    assert said["energy"][1].startswith("1 of 100 frames are outliers")


def test_check_looks_at_files(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.xyz", frames(30), format="extxyz")
    given = ["check", "data=xyz", "data.path=a.xyz", "model.r_max=4"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "labels of the training frames" in out
    assert "frames in two splits" in out
    assert out.endswith("looked at 24 train, 3 val, 3 test frames; --full looks at all\n")
    assert main([*given, "--no-data"]) == 0
    assert "labels" not in capsys.readouterr().out
    write("a.xyz", frames(5), format="extxyz")
    assert main([*given, "data.keys.forces=F"]) == 1
    assert "no key 'F' for the label forces" in capsys.readouterr().err


def test_broken_frames_are_counted(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that cannot be read, and those that cannot be used; what is left is looked at all the same."""
    monkeypatch.chdir(tmp_path)
    made = frames(40)
    for k in (3, 9, 17, 21, 30, 38):
        made[k].positions[k % 6, 0] = 50.0
    made[5].positions[2, 1] = np.nan
    made[6].positions[4, 0] = np.inf
    made[12].calc.results.pop("forces")
    write("a.xyz", made, format="extxyz")
    given = ["check", "data=xyz", "data.path=a.xyz", "model.r_max=4"]
    for arguments in (given, [*given, "--full"]):
        assert main(arguments) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert (
            "error broken frames 6 of 40: atom 3 (H) has no neighbour within r_max = 4 Å (frames 3, 9, 17, 21, " in out
        )
        assert "2 of 40: the position of atom 2 is not finite: [" in out
        assert "(frames 5, 6 of a.xyz)" in out
        assert "1 of 40: no key 'forces' for the label forces (frame 12 of a.xyz)" in out
        assert "looked at 31 sound frames" in out


def test_broken_frames_of_several_files_and_of_bare_graphs(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern stands for several files, the sound frames of each are told from their file, and edges are found."""
    monkeypatch.chdir(tmp_path)
    made = frames(40)
    made[3].positions[2, 1] = np.nan
    made[30].calc.results["energy"] += 1e4
    write("a_1.xyz", made[:20], format="extxyz")
    write("a_2.xyz", made[20:], format="extxyz")
    given = ["check", "data=xyz", "data.path=a_*.xyz", "model.r_max=4"]
    for arguments in (given, [*given, "data.neighbors=computed"]):
        assert main(arguments) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert "1 of 40: the position of atom 2 is not finite: [" in out
        assert "(frame 3 of a_1.xyz)" in out
        assert "in frame 10 of a_2.xyz" in out


def test_a_mean_over_the_atoms_may_be_an_energy_per_atom() -> None:
    """What is an error in a sum is what a mean is for."""
    alkanes = [molecule(name) for name in ("CH4", "C2H2", "C2H4", "C2H6", "C3H8", "C6H6") for _ in range(5)]
    rng, energies = np.random.default_rng(0), {"H": -3.0, "C": -9.0}
    means = [np.array([np.mean([energies[s] for s in atoms.symbols]) + 0.03 * rng.normal()]) for atoms in alkanes]
    made = [make_graph(atoms, 4.0, {"energy": e}) for atoms, e in zip(alkanes, means, strict=True)]
    splits = Splits(GraphDataset.from_graphs(made), None, None)
    for is_mean in (False, True):
        found = look(splits, Asked({"energy": Label("graph")}, energy="energy", is_mean=is_mean))
        assert any(finding.level == "error" for finding in found) == (not is_mean)
