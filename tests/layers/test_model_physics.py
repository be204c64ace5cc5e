"""Physics that every preset must obey, whatever its weights: the checks of a potential one would use."""

from __future__ import annotations

import pytest
import torch
import yaml
from support.graphs import Graph, edges_within, graph_of, moved, permuted, random_graph, random_o3
from torch import Tensor

from e3frame.compose import config_folder, read_yaml
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.statistics import Statistics
from e3frame.spec.validate import validate

FILES = sorted((config_folder() / "model").glob("*.yaml"))
PRESETS = [path.stem for path in FILES if "forces" in yaml.safe_load(path.read_text(encoding="utf-8"))["outputs"]]
STATISTICS = Statistics(
    species=("H", "C", "O"),
    energy_shift={"H": -13.5, "C": -1025.0, "O": -2035.0},
    energy_scale=1.3,
    avg_num_neighbors=3.0,
)
R_MAX = 2.5


def preset(name: str) -> Model:
    spec = read_yaml(config_folder() / "model" / f"{name}.yaml").parse(ModelSpec)
    torch.manual_seed(0)
    return Model(spec.replace(r_max=R_MAX).resolve(STATISTICS)).double().eval()


def energy(model: Model, graph: Graph) -> Tensor:
    return model(graph)["energy"]


def test_presets_were_found() -> None:
    assert {"allegro", "mace", "nequip", "painn", "schnet_like", "tfn"} <= set(PRESETS)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_the_number_of_parameters_is_that_of_the_modules(name: str) -> None:
    """Of each layer, as ``check`` counts it without torch."""
    model = preset(name)
    typed = model.spec.typed()
    for step in typed.steps:
        built = sum(p.numel() for p in model.layers[step.binding.key].parameters() if p.requires_grad)
        assert built == step.num_parameters, step.binding.key
    assert typed.num_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad) > 0


@pytest.fixture(params=PRESETS)
def model(request: pytest.FixtureRequest) -> Model:
    return preset(request.param)


def test_forces_are_the_numerical_gradient(model: Model) -> None:
    graph = random_graph(1, num_nodes=5)
    forces = model(graph)["forces"].detach()
    step = 1e-5
    numerical = torch.zeros_like(forces)
    for index in range(forces.numel()):
        shift = torch.zeros(forces.numel(), dtype=torch.float64)
        shift[index] = step
        ends = [
            energy(model, {**graph, "pos": graph["pos"] + sign * shift.view_as(forces)}).sum().item()
            for sign in (1.0, -1.0)
        ]
        numerical.view(-1)[index] = -(ends[0] - ends[1]) / (2 * step)
    assert forces.abs().max() > 1e-3
    torch.testing.assert_close(forces, numerical, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("inversion", [False, True])
def test_rigid_motions(model: Model, inversion: bool) -> None:
    graph, matrix = random_graph(2), random_o3(3, inversion)
    shift = torch.tensor([1.0, -2.0, 30.0], dtype=torch.float64)
    before, after = model(graph), model(moved(graph, matrix, shift))
    torch.testing.assert_close(after["energy"], before["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(after["forces"], before["forces"] @ matrix.T, atol=1e-9, rtol=0)
    assert after["forces"].sum(0).abs().max() < 1e-9


def test_permutation(model: Model) -> None:
    graph, order = random_graph(10), torch.tensor([3, 0, 5, 1, 4, 2])
    before, after = model(graph), model(permuted(graph, order))
    torch.testing.assert_close(after["energy"], before["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(after["forces"], before["forces"][order], atol=1e-9, rtol=0)


def test_far_apart_molecules_add_up(model: Model) -> None:
    a, b = random_graph(4, num_nodes=4), random_graph(5, num_nodes=5)
    far = b["pos"] + torch.tensor([100.0, 0.0, 0.0], dtype=torch.float64)
    both = graph_of(torch.cat([a["pos"], far]), torch.cat([a["z"], b["z"]]), R_MAX)
    together, apart = model(both), [model(a), model(b)]
    torch.testing.assert_close(together["energy"], apart[0]["energy"] + apart[1]["energy"], atol=1e-9, rtol=0)
    torch.testing.assert_close(together["forces"], torch.cat([m["forces"] for m in apart]), atol=1e-9, rtol=0)


def test_a_batch_is_its_graphs(model: Model) -> None:
    """Each graph's outputs are its own, and its energy has no gradient on the atoms of another."""
    batch = random_graph(6, num_nodes=8, num_graphs=2)
    out = model(batch)
    for number in range(2):
        own = batch["batch"] == number
        alone = graph_of(batch["pos"][own], batch["z"][own], R_MAX)
        single = model(alone)
        torch.testing.assert_close(out["energy"][number : number + 1], single["energy"], atol=1e-9, rtol=0)
        torch.testing.assert_close(out["forces"][own], single["forces"], atol=1e-9, rtol=0)
    pos = batch["pos"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(model, {**batch, "pos": pos})[0].sum(), pos)
    assert gradient[batch["batch"] == 0].abs().max() > 1e-4
    assert (gradient[batch["batch"] == 1] == 0).all()


def test_smooth_at_the_cutoff(model: Model) -> None:
    """As an atom leaves the sphere of r_max, energy and forces go over to those without the edge."""
    pos = torch.tensor([[0.0, 0, 0], [1.0, 0.3, 0], [0, 0, 0]], dtype=torch.float64)
    z = torch.tensor([6, 1, 8])

    def at(distance: float) -> dict[str, Tensor]:
        moved_pos = pos.clone()
        moved_pos[2, 1] = -distance
        return model(graph_of(moved_pos, z, R_MAX))

    inside, outside = at(R_MAX - 1e-5), at(R_MAX + 1e-5)
    torch.testing.assert_close(inside["energy"], outside["energy"], atol=1e-6, rtol=0)
    # The cosine envelope has a curvature at r_max, so its forces change by about that times the distance.
    torch.testing.assert_close(inside["forces"], outside["forces"], atol=1e-4, rtol=0)
    assert (at(1.2)["energy"] - outside["energy"]).abs() > 1e-4


def test_an_isolated_atom(model: Model) -> None:
    pos = torch.zeros(1, 3, dtype=torch.float64)
    assert edges_within(pos, torch.zeros(1, dtype=torch.long), R_MAX).shape == (2, 0)
    out = model(graph_of(pos, torch.tensor([8]), R_MAX))
    assert out["energy"].isfinite().all()
    assert (out["forces"] == 0).all()
    molecule = random_graph(11, num_nodes=4)
    beside = torch.cat([molecule["pos"], pos + 50.0])
    both = model(graph_of(beside, torch.cat([molecule["z"], torch.tensor([8])]), R_MAX))
    torch.testing.assert_close(both["energy"], model(molecule)["energy"] + out["energy"], atol=1e-9, rtol=0)
    assert (both["forces"][-1] == 0).all()


def test_no_atoms_between_graphs_share_shifts(model: Model) -> None:
    """Shifts are those of the species: a float32 model keeps micro-electronvolts beside thousands of them."""
    graph = random_graph(7)
    exact = energy(model, graph)
    single = energy(model.float(), graph)
    assert single.dtype == torch.float64
    assert exact.abs().max() > 6000
    torch.testing.assert_close(single, exact, atol=1e-3, rtol=0)


def test_evaluation_keeps_no_graph(model: Model) -> None:
    graph = random_graph(8)
    with torch.no_grad():
        out = model(graph)
    assert not any(value.requires_grad for value in out.values())
    torch.testing.assert_close(out["forces"], model(graph)["forces"].detach(), atol=1e-12, rtol=0)


def test_nequip_has_the_published_size() -> None:
    """At equal hyperparameters, the 278,144 trainable parameters of nequip 0.19.1's NequIPGNNModel (H, C, O).

    There the self-connection depends on the features of the species; the preset has a linear map for each species.
    """
    text = (config_folder() / "model" / "nequip.yaml").read_text(encoding="utf-8")
    same = text.replace("radial_mlp: [64, 64]}", "radial_mlp: [64, 64], attributes: species}")
    for preset, size in ((text, 99_968), (same, 278_144)):
        model = Model(validate(ModelSpec, yaml.safe_load(preset)).resolve(STATISTICS))
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == size


def test_layers_may_be_called_like_methods() -> None:
    names = {"first_conv": "train", "first_gate": "forward", "readout": "type", "radial": "keys"}
    text = (config_folder() / "model" / "nequip.yaml").read_text(encoding="utf-8").replace("of: readout", "of: type")
    for old, new in names.items():
        text = text.replace(f"  {old}:", f"  {new}:")
    raw = yaml.safe_load(text.replace("irreps_out: gate(hidden), ", "irreps_out: gate(hidden), radial: keys, "))
    raw["layers"]["last_conv"]["radial"] = "keys"
    model = Model(validate(ModelSpec, raw).resolve(STATISTICS))
    assert sum(p.numel() for p in model.parameters()) == 99_968
    assert "layers.train.radial.layer0.weight" in model.state_dict()
    assert model(random_graph(9))["energy"].isfinite().all()
