"""Every function of rotations rejects other matrices, but accepts rotations that were rounded to float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from e3frame import o3

NAN = float("nan")
IRREPS = o3.Irreps("2x0o + 1e + 2o")

OF_MATRIX: dict[str, Callable[[Tensor], object]] = {
    "matrix_to_angles": o3.matrix_to_angles,
    "matrix_to_quaternion": o3.matrix_to_quaternion,
    "matrix_to_axis_angle": o3.matrix_to_axis_angle,
    "wigner_D_from_matrix": lambda R: o3.wigner_D_from_matrix(2, R),
    "Irreps.D_from_matrix": IRREPS.D_from_matrix,
    "Irrep.D_from_matrix": o3.Irrep("3o").D_from_matrix,
}
WITH_REFLECTIONS = {"Irreps.D_from_matrix", "Irrep.D_from_matrix"}
OF_QUATERNION: dict[str, Callable[[Tensor], object]] = {
    "quaternion_to_matrix": o3.quaternion_to_matrix,
    "quaternion_to_angles": o3.quaternion_to_angles,
    "quaternion_to_axis_angle": o3.quaternion_to_axis_angle,
    "Irreps.D_from_quaternion": IRREPS.D_from_quaternion,
    "Irrep.D_from_quaternion": o3.Irrep("1e").D_from_quaternion,
}
OF_AXIS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "axis_angle_to_quaternion": o3.axis_angle_to_quaternion,
    "axis_angle_to_matrix": o3.axis_angle_to_matrix,
    "axis_angle_to_angles": o3.axis_angle_to_angles,
    "compose_axis_angle": lambda axis, angle: o3.compose_axis_angle(torch.ones(3), torch.ones(()), axis, angle),
    "Irreps.D_from_axis_angle": IRREPS.D_from_axis_angle,
    "Irrep.D_from_axis_angle": o3.Irrep("2e").D_from_axis_angle,
}
SHEAR = torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])  # of determinant 1
NO_ROTATIONS = {
    "scaled": (1.001 * torch.eye(3), r"R R\^T differs from the identity by 0\.002"),
    "squeezed": (torch.diag(torch.tensor([2.0, 0.5, 1.0])), "orthogonal matrices"),
    "sheared": (SHEAR, "orthogonal matrices"),
    "zero": (torch.zeros(3, 3), "orthogonal matrices"),
    "NaN": (torch.full((3, 3), NAN), "R R.T differs from the identity by nan"),
    "one of many": (torch.stack([torch.eye(3), torch.eye(3), SHEAR]), "orthogonal matrices"),
    "of two dimensions": (torch.eye(2), r"shape \(\.\.\., 3, 3\), got \(2, 2\)"),
}


@pytest.mark.parametrize("wrong", NO_ROTATIONS)
@pytest.mark.parametrize("name", OF_MATRIX)
def test_matrices(name: str, wrong: str) -> None:
    R, message = NO_ROTATIONS[wrong]
    with pytest.raises(ValueError, match=message):
        OF_MATRIX[name](R)


@pytest.mark.parametrize("name", OF_MATRIX)
def test_reflections_where_they_are_allowed(name: str) -> None:
    R = -o3.rand_matrix(2)
    if name in WITH_REFLECTIONS:
        OF_MATRIX[name](R)
    else:
        with pytest.raises(ValueError, match="of determinant 1; got a reflection"):
            OF_MATRIX[name](R)


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (torch.zeros(4), r"the quaternion of a rotation must not be zero, got \[0\.0, 0\.0, 0\.0, 0\.0\]"),
        (torch.tensor([[1.0, 0, 0, 0], [0, NAN, 0, 1]]), r"must be finite, got \[0\.0, nan, 0\.0, 1\.0\]"),
        (torch.tensor([1.0, 0, float("inf"), 0]), "the quaternion of a rotation must be finite"),
    ],
)
@pytest.mark.parametrize("name", OF_QUATERNION)
def test_quaternions(name: str, q: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OF_QUATERNION[name](q)


@pytest.mark.parametrize("name", OF_AXIS)
def test_axes(name: str) -> None:
    f = OF_AXIS[name]
    with pytest.raises(ValueError, match=r"the axis of a rotation must not be zero, got \[0\.0, 0\.0, 0\.0\]"):
        f(torch.zeros(3), torch.tensor(1.0))
    with pytest.raises(ValueError, match="the axis of a rotation must be finite"):
        f(torch.tensor([0.0, NAN, 1.0]), torch.tensor(1.0))
    f(torch.zeros(2, 3), torch.tensor([0.0, 2 * torch.pi]))  # no turn has no axis


def test_the_identity_has_no_axis() -> None:
    axis, angle = o3.matrix_to_axis_angle(torch.eye(3))
    torch.testing.assert_close(o3.axis_angle_to_matrix(axis, angle), torch.eye(3))


def test_inversions_are_counted() -> None:
    angles = o3.rand_angles(3)
    for f in (lambda k: IRREPS.D_from_angles(*angles, k), lambda k: IRREPS.D_from_quaternion(torch.ones(3, 4), k)):
        with pytest.raises(ValueError, match=r"the number of inversions k must be an integer, got 0\.5"):
            f(torch.tensor([0.0, 0.5, 1.0]))
        torch.testing.assert_close(f(torch.tensor([0, 1, 2])), f(torch.tensor([0.0, 1.0, 2.0])))


@pytest.mark.parametrize("name", OF_MATRIX)
def test_float32_after_many_products(name: str) -> None:
    R = o3.rand_matrix(dtype=torch.float32)
    for _ in range(100):
        R = R @ o3.rand_matrix(dtype=torch.float32)
    OF_MATRIX[name](R)
    OF_MATRIX[name](R.double())
    for dtype in (torch.bfloat16, torch.float16):
        if not name.startswith("matrix_to"):
            assert OF_MATRIX[name](o3.rand_matrix(dtype=torch.float32).to(dtype)).isfinite().all()


COMPILED = ("matrix_to_axis_angle", "Irreps.D_from_matrix", "quaternion_to_angles")


@pytest.mark.parametrize("name", [*OF_MATRIX, *OF_QUATERNION])
def test_checks_are_in_nobodys_way(name: str) -> None:
    """Derivatives, compilers and vmap."""
    given = o3.rand_matrix(3) if name in OF_MATRIX else o3.rand_quaternion(3)
    f = (OF_MATRIX | OF_QUATERNION)[name]

    def first(x: Tensor) -> Tensor:
        out = f(x)
        return out if isinstance(out, Tensor) else torch.cat([part.reshape(len(x), -1) for part in out], dim=-1)

    if name in COMPILED:
        torch.compiler.reset()
        torch.testing.assert_close(torch.compile(first, fullgraph=True, backend="aot_eager")(given), first(given))
    out = torch.func.vmap(f)(given)
    torch.testing.assert_close(out, f(given))
    small = 1e-7 * torch.randn_like(given)
    _, slope = torch.func.jvp(first, (given,), (small,))
    torch.testing.assert_close(first(given + small) - first(given), slope, atol=1e-11, rtol=1e-4)
    assert torch.autograd.grad(first(given.requires_grad_()).sum(), given)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_integers_are_numbers(dtype: torch.dtype) -> None:
    R = torch.eye(3, dtype=dtype)
    for name, f in OF_MATRIX.items():
        torch.testing.assert_close(f(R), f(torch.eye(3)), msg=name)
    q, axis, angle = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 1, 1]), torch.tensor(1)
    for name, f in OF_QUATERNION.items():
        torch.testing.assert_close(f(q.to(dtype)), f(q.to(dtype).to(torch.float64)), msg=name)
    for name, f in OF_AXIS.items():
        ours = f(axis.to(dtype), angle.to(dtype))
        torch.testing.assert_close(ours, f(axis.to(dtype).double(), angle.to(dtype).double()), msg=name)
    for f in (o3.matrix_x, o3.matrix_y, o3.matrix_z):
        torch.testing.assert_close(f(angle.to(dtype)), f(torch.tensor(1.0)))
    angles = [angle.to(dtype)] * 3
    floats = [torch.tensor(1.0)] * 3
    for f in (o3.angles_to_matrix, o3.angles_to_quaternion, o3.angles_to_axis_angle, IRREPS.D_from_angles):
        torch.testing.assert_close(f(*angles), f(*floats))
    torch.testing.assert_close(o3.wigner_D(2, *angles), o3.wigner_D(2, *floats))
    torch.testing.assert_close(o3.angles_to_xyz(*angles[:2]), o3.angles_to_xyz(*floats[:2]))
    torch.testing.assert_close(o3.xyz_to_angles(axis.to(dtype)), o3.xyz_to_angles(axis.to(dtype).double()))
