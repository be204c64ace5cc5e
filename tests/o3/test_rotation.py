"""Conversions between descriptions of rotations, and the matrices of the irreps."""

from __future__ import annotations

import math

import e3nn.o3
import pytest
import torch

from e3frame import o3

CLOSE = {"atol": 1e-12, "rtol": 0}
HALF_TURNS = torch.diag_embed(2 * torch.eye(3, dtype=torch.float64) - 1)


@pytest.fixture
def rotations(generator: torch.Generator) -> torch.Tensor:
    """Random rotations, the identity, half turns, and rotations close to both."""
    tiny = o3.matrix_z(torch.tensor([1e-9, math.pi - 1e-9]))
    special = [torch.eye(3)[None], HALF_TURNS, tiny, o3.matrix_y(torch.tensor([0.3]))]
    return torch.cat([o3.rand_matrix(20, generator=generator), *special])


@pytest.mark.parametrize("description", ["angles", "quaternion", "axis_angle"])
def test_matrices_survive_conversion(description: str, rotations: torch.Tensor) -> None:
    there = getattr(o3, f"matrix_to_{description}")(rotations)
    back = getattr(o3, f"{description}_to_matrix")
    again = back(there) if isinstance(there, torch.Tensor) else back(*there)
    torch.testing.assert_close(again, rotations, **CLOSE)


def test_conversions_are_those_of_e3nn(generator: torch.Generator) -> None:
    angles = o3.rand_angles(30, generator=generator)
    R = o3.angles_to_matrix(*angles)
    close = {"atol": 1e-7, "rtol": 0}
    torch.testing.assert_close(R, e3nn.o3.angles_to_matrix(*angles), **CLOSE)
    for name in ("angles", "quaternion", "axis_angle"):
        torch.testing.assert_close(
            getattr(o3, f"matrix_to_{name}")(R), getattr(e3nn.o3, f"matrix_to_{name}")(R), **close
        )
        if name != "angles":
            ours, theirs = getattr(o3, f"angles_to_{name}"), getattr(e3nn.o3, f"angles_to_{name}")
            torch.testing.assert_close(ours(*angles), theirs(*angles), **close)
    q = o3.angles_to_quaternion(*angles)
    axis, angle = o3.quaternion_to_axis_angle(q)
    torch.testing.assert_close((axis, angle), e3nn.o3.quaternion_to_axis_angle(q), **close)
    torch.testing.assert_close(o3.quaternion_to_angles(q), e3nn.o3.quaternion_to_angles(q), **close)
    torch.testing.assert_close(o3.axis_angle_to_quaternion(axis, angle), q, **close)
    torch.testing.assert_close(o3.axis_angle_to_angles(axis, angle), e3nn.o3.axis_angle_to_angles(axis, angle), **close)
    torch.testing.assert_close(o3.axis_angle_to_matrix(3 * axis, angle), R, **close)
    for name in "xyz":
        turn = getattr(o3, f"matrix_{name}")(angle)
        torch.testing.assert_close(turn, getattr(e3nn.o3, f"matrix_{name}")(angle), **CLOSE)
    xyz = R[:, :, 0]
    torch.testing.assert_close(o3.xyz_to_angles(2 * xyz), e3nn.o3.xyz_to_angles(xyz), **close)
    torch.testing.assert_close(o3.angles_to_xyz(*o3.xyz_to_angles(2 * xyz)), xyz, **CLOSE)


def test_composition(generator: torch.Generator) -> None:
    R, S = o3.rand_matrix(2, 10, generator=generator)
    angles = o3.compose_angles(*o3.matrix_to_angles(R), *o3.matrix_to_angles(S))
    torch.testing.assert_close(o3.angles_to_matrix(*angles), R @ S, **CLOSE)
    q = o3.compose_quaternion(o3.matrix_to_quaternion(R), o3.matrix_to_quaternion(S))
    torch.testing.assert_close(o3.quaternion_to_matrix(q), R @ S, **CLOSE)
    pair = o3.compose_axis_angle(*o3.matrix_to_axis_angle(R), *o3.matrix_to_axis_angle(S))
    torch.testing.assert_close(o3.axis_angle_to_matrix(*pair), R @ S, **CLOSE)
    torch.testing.assert_close(o3.angles_to_matrix(*o3.inverse_angles(*o3.matrix_to_angles(R))), R.mT, **CLOSE)
    inverse = o3.inverse_quaternion(o3.matrix_to_quaternion(R))
    torch.testing.assert_close(o3.quaternion_to_matrix(inverse), R.mT, **CLOSE)


def test_identity_and_random(generator: torch.Generator) -> None:
    eye = torch.eye(3).expand(2, 3, 3)
    torch.testing.assert_close(o3.angles_to_matrix(*o3.identity_angles(2)), eye)
    torch.testing.assert_close(o3.quaternion_to_matrix(o3.identity_quaternion(2)), eye)
    assert o3.rand_matrix(2, requires_grad=True).requires_grad
    assert o3.rand_quaternion(4, 5, dtype=torch.float32).dtype == torch.float32
    axis, angle = o3.rand_axis_angle(100, generator=generator)
    assert (axis.shape, angle.shape) == ((100, 3), (100,))
    # The mean of uniform rotations is zero.
    assert o3.rand_matrix(20000, generator=generator).mean(0).abs().max() < 0.03


@pytest.mark.parametrize("convert", [o3.matrix_to_angles, o3.matrix_to_quaternion, o3.matrix_to_axis_angle])
def test_reflections_are_refused(convert: object) -> None:
    with pytest.raises(ValueError, match="expected rotation matrices, of determinant 1"):
        convert(-torch.eye(3))  # type: ignore[operator]


@pytest.mark.parametrize("l", range(12))
def test_wigner_D(l: int, rotations: torch.Tensor) -> None:  # noqa: E741
    angles = o3.matrix_to_angles(rotations)
    D = o3.wigner_D(l, *angles)
    torch.testing.assert_close(D, e3nn.o3.wigner_D(l, *angles), atol=2e-5 if l > 1 else 1e-6, rtol=0)
    torch.testing.assert_close(o3.wigner_D_from_matrix(l, rotations), D, **CLOSE)
    torch.testing.assert_close(D @ D.mT, torch.eye(2 * l + 1).expand_as(D), **CLOSE)
    product = o3.wigner_D_from_matrix(l, rotations @ rotations.flip(0))
    torch.testing.assert_close(D @ D.flip(0), product, **CLOSE)
    x, y, z = o3.so3_generators(l)
    t = torch.tensor(0.4)
    for generator, turn in ((x, o3.matrix_x), (y, o3.matrix_y), (z, o3.matrix_z)):
        torch.testing.assert_close(o3.wigner_D_from_matrix(l, turn(t)), torch.matrix_exp(t * generator), **CLOSE)


def test_wigner_D_is_differentiable_everywhere() -> None:
    angles = tuple(torch.tensor([0.0, 1.0], requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *abc: o3.wigner_D(2, *abc), angles)
    assert torch.autograd.gradgradcheck(lambda *abc: o3.wigner_D(2, *abc), angles)
    R = torch.eye(3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda R: o3.wigner_D_from_matrix(3, R), (R,))


def test_constants_as_tensors() -> None:
    exact = o3.wigner_3j(2, 1, 2)
    assert exact.dtype == torch.float64
    single = o3.wigner_3j(2, 1, 2, dtype=torch.float32)
    torch.testing.assert_close(single, exact.float(), atol=0, rtol=0)
    single.zero_()
    assert o3.wigner_3j(2, 1, 2).any()
    assert o3.change_basis_real_to_complex(2, torch.float32).dtype == torch.complex64
    torch.testing.assert_close(o3.su2_generators(2), e3nn.o3.su2_generators(2), check_dtype=False, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="triangle rule"):
        o3.wigner_3j(1, 1, 3)
