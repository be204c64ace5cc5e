"""Signals on the sphere: e3nn's values for every method, parity, copies."""

from __future__ import annotations

import copy
import pickle
from math import pi

import e3nn.io
import pytest
import torch
from torch import Tensor

from e3frame import o3
from e3frame.io import SphericalTensor

CLOSE = {"atol": 1e-12, "rtol": 0}


def calls(dim: int, generator: torch.Generator) -> list[tuple[str, tuple]]:
    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    points, values, signal = randn(3, 3), randn(3), randn(dim)
    return [
        ("with_peaks_at", (points,)),
        ("with_peaks_at", (points, values)),
        ("with_peaks_at", (torch.cat([points, torch.zeros(1, 3)]),)),
        ("with_peaks_at", (torch.empty(0, 3),)),
        ("sum_of_diracs", (points, values)),
        ("sum_of_diracs", (randn(1, 3, 2, 3), randn(2, 1, 1))),
        ("sum_of_diracs", (torch.empty(1, 0, 2, 3), torch.empty(2, 0, 1))),
        ("from_samples_on_s2", (randn(2, 5, 3), randn(2, 5), 20)),
        ("from_samples_on_s2", (torch.empty(2, 0, 10, 3), torch.empty(2, 0, 10))),
        ("norms", (randn(2, dim),)),
        ("signal_xyz", (randn(2, 3, dim), randn(4, 2, 3))),
        ("signal_on_grid", (randn(2, dim), 20, "component")),
        ("plot", (signal, values, 20)),
        ("plot", (signal, None, 20, False, True, "norm")),
    ]


@pytest.mark.parametrize(("lmax", "p_val", "p_arg"), [(4, 1, -1), (3, 1, 1), (0, 1, 1)])
def test_is_that_of_e3nn(lmax: int, p_val: int, p_arg: int, generator: torch.Generator) -> None:
    ours, theirs = SphericalTensor(lmax, p_val, p_arg), e3nn.io.SphericalTensor(lmax, p_val, p_arg)
    assert repr(ours) == repr(theirs)
    for name, arguments in calls(ours.dim, generator):
        if lmax == 0 and name == "with_peaks_at" and len(arguments[0]) > 0:
            continue  # a constant has one value
        torch.testing.assert_close(
            tuple(getattr(ours, name)(*arguments)), tuple(getattr(theirs, name)(*arguments)), msg=name, **CLOSE
        )


def test_surfaces_are_those_of_e3nn(generator: torch.Generator) -> None:
    arguments = (torch.randn(2, 9, generator=generator), torch.randn(2, 3, generator=generator), 20)
    ours = SphericalTensor(2, 1, 1).plotly_surface(*arguments)
    theirs = e3nn.io.SphericalTensor(2, 1, 1).plotly_surface(*arguments)
    assert len(ours) == 2
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("x", "y", "z", "surfacecolor"):
            torch.testing.assert_close(mine[key], other[key], **CLOSE)


def test_peaks_are_those_of_e3nn(generator: torch.Generator) -> None:
    s = SphericalTensor(4, 1, -1)
    signal = torch.randn(25, generator=generator)
    found = []
    for points, values in (s.find_peaks(signal, 50), e3nn.io.SphericalTensor(4, 1, -1).find_peaks(signal, 50)):
        order = values.argsort()
        found.append((points[order], values[order]))
    assert len(found[0][1]) > 2
    torch.testing.assert_close(*found, **CLOSE)


def test_finds_a_peak_half_way_between_points() -> None:
    s = SphericalTensor(3, 1, -1)
    x = s.sum_of_diracs(torch.tensor([[0.0, 0.0, -1.0]]), torch.ones(1))
    points, values = s.find_peaks(x, 20)
    best = points[values.argmax()]
    assert (best - torch.tensor([0.0, 0.0, -1.0])).norm() < 2 * pi / 20


def test_inversion(generator: torch.Generator) -> None:
    for p_val, p_arg in ((1, -1), (-1, 1), (-1, -1)):
        s = SphericalTensor(3, p_val, p_arg)
        signal, points = s.randn(-1, generator=generator), torch.randn(5, 3, generator=generator)
        inverted = s.D_from_matrix(-torch.eye(3)) @ signal
        torch.testing.assert_close(s.signal_xyz(inverted, points), p_val * s.signal_xyz(signal, p_arg * points))


def test_is_irreps_of_its_own_kind() -> None:
    s = SphericalTensor(2, -1, -1)
    assert s == o3.Irreps("0o + 1e + 2o")
    assert type(o3.Irreps(s)) is o3.Irreps
    for again in (copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert type(again) is SphericalTensor
        assert (again, again.p_val, again.p_arg) == (s, -1, -1)
    assert s.signal_on_grid(torch.ones(9, dtype=torch.float32), 10).values.dtype == torch.float32


def test_evaluation_is_mapped_and_compiled(generator: torch.Generator) -> None:
    s = SphericalTensor(2, 1, -1)
    signals, points = s.randn(4, -1, generator=generator), torch.randn(3, 3, generator=generator)
    expected = s.signal_xyz(signals, points)
    torch.testing.assert_close(torch.func.vmap(lambda x: s.signal_xyz(x, points))(signals), expected)
    torch.testing.assert_close(torch.compile(s.signal_xyz, fullgraph=True, backend="eager")(signals, points), expected)


def test_errors() -> None:
    s = SphericalTensor(2, 1, -1)
    with pytest.raises(ValueError, match="p_val must be 1, got -1"):
        SphericalTensor(2, -1, -1).with_peaks_at(torch.eye(3))
    with pytest.raises(ValueError, match=r"vectors must have shape \(n, 3\), got \(2, 3, 3\)"):
        s.with_peaks_at(torch.ones(2, 3, 3))
    with pytest.raises(ValueError, match="no signal of degree 2 has these values"):
        s.with_peaks_at(torch.ones(2, 3), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"plot takes one signal of shape \(9,\), got \(2, 9\)"):
        s.plot(torch.ones(2, 9))
    with pytest.raises(ValueError, match="parity"):
        SphericalTensor(2, 2, 1)
