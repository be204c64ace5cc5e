"""Tensors of matter of many kinds: sound ones are never refused, and those of another frame never pass for sound."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.matter import MATRICES, molecules, moment, rattled

from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.preflight.tensors import check_frame

FRAMES = 60
KINDS = {"CsCl": 6.0, "iron": 4.0, "slab": 4.0, "CO2": 4.0, "ethanol": 4.0, "molecules": 4.0}
TENSORS = {**MATRICES, "moment": moment}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, list[Graph]]:
    """Graphs that hold every tensor under its name."""
    name, made = request.param, []
    for frame in molecules(FRAMES) if name == "molecules" else rattled(name, 0.05, FRAMES, strain=0.02):
        labels = {key: np.asarray(tensor(frame))[None] for key, tensor in TENSORS.items()}
        made.append(make_graph(frame, KINDS[name], labels))
    return name, made


def levels(graphs: list[Graph]) -> Counter[str]:
    found = [check_frame(graphs, name) for name in TENSORS]
    return Counter("none" if finding is None else finding.level for finding in found)


def in_other_frames(graphs: list[Graph], how: str) -> list[Graph]:
    rng, copies = np.random.default_rng(1), [graph.clone() for graph in graphs]
    for graph in copies:
        q = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
        for name in TENSORS:
            t = graph[name]
            if how == "random":
                graph[name] = torch.from_numpy(rng.normal(size=tuple(t.shape)))
            else:
                graph[name] = t @ q.T if t.dim() == 2 else q @ t @ q.T
    return copies


def test_sound_tensors_are_never_refused(kind: tuple[str, list[Graph]]) -> None:
    name, graphs = kind
    found = levels(graphs)
    assert found["error"] == found["warning"] == 0
    if name in ("ethanol", "molecules"):
        assert found["ok"] == len(TENSORS)


@pytest.mark.parametrize("how", ["turned", "random"])
def test_tensors_of_other_frames(how: str, kind: tuple[str, list[Graph]]) -> None:
    """They are found out in molecules of which all directions can be told; elsewhere they may go unseen."""
    name, graphs = kind
    found = levels(in_other_frames(graphs, how))
    assert found["ok"] == 0
    assert found["error"] == 0 or not graphs[0].pbc.any()
    if name in ("ethanol", "molecules"):
        assert found == {"error": len(MATRICES), "warning": 1}


def test_what_is_the_same_in_all_directions() -> None:
    """There is nothing to turn: no verdict, whatever rounding leaves."""
    graphs = [make_graph(a, 4.0, {"eps": 3.1 * np.eye(3)[None] + 1e-12}) for a in rattled("ethanol", 0.05, FRAMES)]
    found = check_frame(graphs, "eps")
    assert found is not None
    assert (found.level, found.text) == ("note", "it is isotropic in all frames: rotation cannot be checked")


def test_perfect_crystals_tell_nothing() -> None:
    """Without shifts all directions cancel, and a label of rounding noise is no mistake."""
    rng = np.random.default_rng(0)
    graphs = []
    for atoms in rattled("NaCl", 0.0, FRAMES):
        noise = 1e-4 * rng.normal(size=(3, 3))
        graphs.append(make_graph(atoms, 6.0, {"eps": (2.3 * np.eye(3) + noise + noise.T)[None]}))
    found = check_frame(graphs, "eps")
    assert found is not None
    assert found.level == "note"
