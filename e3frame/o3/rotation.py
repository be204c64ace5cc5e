"""Rotations as matrices, Euler angles (yxy), quaternions (w, x, y, z) and axis-angle pairs.

All conversions keep leading dimensions, dtype and device. Angles are in radians; R(alpha, beta, gamma) is
R_y(alpha) R_x(beta) R_y(gamma).
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from e3frame.kernels.constants import as_floating
from e3frame.o3.proper import require_directions, require_rotations

Angles: TypeAlias = tuple[Tensor, Tensor, Tensor]
AxisAngle: TypeAlias = tuple[Tensor, Tensor]

# Random and identity rotations ----------------------------------------------------------------------------------------


def rand_angles(*shape: int, requires_grad: bool = False, generator: Any = None, **options: Any) -> Angles:
    """Return Euler angles, each of shape ``shape``, of uniformly distributed rotations.

    Args:
        shape: leading dimensions.
        requires_grad: whether the result requires gradients.
        generator: random number generator of torch.
        options: dtype and device.
    """
    alpha, gamma, height = torch.rand(3, *shape, generator=generator, **options)
    angles = (2 * math.pi * alpha, torch.acos(2 * height - 1), 2 * math.pi * gamma)
    alpha, beta, gamma = (angle.requires_grad_() if requires_grad else angle for angle in angles)
    return alpha, beta, gamma


def rand_matrix(*shape: int, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return uniformly distributed rotation matrices (*shape, 3, 3); arguments as for `rand_angles`."""
    matrix = angles_to_matrix(*rand_angles(*shape, **options))
    return matrix.requires_grad_() if requires_grad else matrix


def rand_quaternion(*shape: int, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return unit quaternions (*shape, 4) of uniformly distributed rotations; arguments as for `rand_angles`."""
    q = angles_to_quaternion(*rand_angles(*shape, **options))
    return q.requires_grad_() if requires_grad else q


def rand_axis_angle(*shape: int, requires_grad: bool = False, **options: Any) -> AxisAngle:
    """Return axes (*shape, 3) and angles ``shape`` of uniform rotations; arguments as for `rand_angles`."""
    axis, angle = angles_to_axis_angle(*rand_angles(*shape, **options))
    return (axis.requires_grad_(), angle.requires_grad_()) if requires_grad else (axis, angle)


def identity_angles(*shape: int, requires_grad: bool = False, **options: Any) -> Angles:
    """Return the Euler angles of the identity, each of shape ``shape``."""
    alpha, beta, gamma = (torch.zeros(*shape, requires_grad=requires_grad, **options) for _ in range(3))
    return alpha, beta, gamma


def identity_quaternion(*shape: int, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return quaternions (*shape, 4) of the identity, (1, 0, 0, 0)."""
    q = torch.zeros(*shape, 4, **options)
    q[..., 0] = 1
    return q.requires_grad_() if requires_grad else q


# Composition: the first argument is applied last ----------------------------------------------------------------------


def compose_angles(a1: Tensor, b1: Tensor, c1: Tensor, a2: Tensor, b2: Tensor, c2: Tensor) -> Angles:
    """Return the Euler angles (...) of R(a1, b1, c1) R(a2, b2, c2)."""
    return matrix_to_angles(angles_to_matrix(a1, b1, c1) @ angles_to_matrix(a2, b2, c2))


def inverse_angles(a: Tensor, b: Tensor, c: Tensor) -> Angles:
    """Return the Euler angles (...) of the inverse rotation."""
    return -c, -b, -a


def compose_quaternion(q1: Tensor, q2: Tensor) -> Tensor:
    """Return the Hamilton product (..., 4) of q1 and q2, each (..., 4)."""
    w1, x1, y1, z1 = q1.unbind(-1)
    w2, x2, y2, z2 = q2.unbind(-1)
    return torch.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 + y1 * w2 + z1 * x2 - x1 * z2,
            w1 * z2 + z1 * w2 + x1 * y2 - y1 * x2,
        ],
        dim=-1,
    )


def inverse_quaternion(q: Tensor) -> Tensor:
    """Return the conjugate of ``q`` (..., 4), the inverse of a unit quaternion."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def compose_axis_angle(axis1: Tensor, angle1: Tensor, axis2: Tensor, angle2: Tensor) -> AxisAngle:
    """Return axis (..., 3) and angle (...) of R(axis1, angle1) R(axis2, angle2)."""
    q1, q2 = axis_angle_to_quaternion(axis1, angle1), axis_angle_to_quaternion(axis2, angle2)
    return quaternion_to_axis_angle(compose_quaternion(q1, q2))


# To a matrix ----------------------------------------------------------------------------------------------------------


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_x(angle: Tensor) -> Tensor:
    """Return the rotation matrix (..., 3, 3) about the x axis by ``angle`` (...)."""
    angle = as_floating(angle)
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[one, zero, zero], [zero, c, -s], [zero, s, c]])


def matrix_y(angle: Tensor) -> Tensor:
    """Return the rotation matrix (..., 3, 3) about the y axis by ``angle`` (...)."""
    angle = as_floating(angle)
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[c, zero, s], [zero, one, zero], [-s, zero, c]])


def matrix_z(angle: Tensor) -> Tensor:
    """Return the rotation matrix (..., 3, 3) about the z axis by ``angle`` (...)."""
    angle = as_floating(angle)
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])


def angles_to_matrix(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Return R_y(alpha) R_x(beta) R_y(gamma), (..., 3, 3), of Euler angles (...)."""
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    return matrix_y(alpha) @ matrix_x(beta) @ matrix_y(gamma)


def quaternion_to_matrix(q: Tensor) -> Tensor:
    """Return the rotation matrix (..., 3, 3) of quaternions ``q`` (..., 4) of any norm.

    Raises:
        ValueError: a quaternion that is zero or not finite.
    """
    q = require_directions("quaternion", as_floating(q))
    w, x, y, z = normalize(q, dim=-1).unbind(-1)
    return _matrix(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_angle_to_matrix(axis: Tensor, angle: Tensor) -> Tensor:
    """Return the matrix (..., 3, 3) of the rotation by ``angle`` (...) about ``axis`` (..., 3) of any length.

    Raises:
        ValueError: see `axis_angle_to_quaternion`.
    """
    return quaternion_to_matrix(axis_angle_to_quaternion(axis, angle))


# From a matrix --------------------------------------------------------------------------------------------------------


def matrix_to_angles(R: Tensor) -> Angles:
    """Return the Euler angles (...) of rotation matrices ``R`` (..., 3, 3). Where beta is 0, so is alpha.

    Raises:
        ValueError: matrices that are not rotations.
    """
    R = require_rotations(R)
    alpha, beta = xyz_to_angles(R[..., :, 1])
    rest = angles_to_matrix(alpha, beta, torch.zeros_like(alpha)).mT @ R
    return alpha, beta, torch.atan2(rest[..., 0, 2], rest[..., 0, 0])


def matrix_to_quaternion(R: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4), with w >= 0, of rotation matrices ``R`` (..., 3, 3).

    Raises:
        ValueError: matrices that are not rotations.
    """
    R = require_rotations(R)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in R.unbind(-2))
    # Rows of 4 q qᵀ. The longest one is far from zero and therefore accurate.
    products = _matrix(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    longest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*R.shape[:-2], 1, 4)
    q = normalize(products.gather(-2, longest).squeeze(-2), dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def matrix_to_axis_angle(R: Tensor) -> AxisAngle:
    """Return the unit axis (..., 3) and the angle (...) in [0, π] of rotation matrices ``R`` (..., 3, 3).

    Raises:
        ValueError: matrices that are not rotations.
    """
    return quaternion_to_axis_angle(matrix_to_quaternion(R))


# Between the others ---------------------------------------------------------------------------------------------------


def axis_angle_to_quaternion(xyz: Tensor, angle: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4) of the rotation by ``angle`` (...) about ``xyz`` (..., 3) of any length.

    Raises:
        ValueError: an axis that is not finite, or zero while the angle is not a multiple of 2π.
    """
    xyz, half = torch.broadcast_tensors(as_floating(xyz), as_floating(angle)[..., None] / 2)
    require_directions("axis", xyz, needed=half[..., 0].sin().abs() > 1e-4)
    return torch.cat([half[..., :1].cos(), normalize(xyz, dim=-1) * half.sin()], dim=-1)


def quaternion_to_axis_angle(q: Tensor) -> AxisAngle:
    """Return the unit axis (..., 3), zero for the identity, and the angle (...) in [0, 2π] of quaternions (..., 4).

    Raises:
        ValueError: a quaternion that is zero or not finite.
    """
    q = require_directions("quaternion", as_floating(q))
    return normalize(q[..., 1:], dim=-1), 2 * torch.atan2(vector_norm(q[..., 1:], dim=-1), q[..., 0])


def angles_to_quaternion(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4) of Euler angles (...)."""
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    alpha, beta, gamma = map(as_floating, (alpha, beta, gamma))
    y, x = alpha.new_tensor([0.0, 1.0, 0.0]), alpha.new_tensor([1.0, 0.0, 0.0])
    first = compose_quaternion(axis_angle_to_quaternion(x, beta), axis_angle_to_quaternion(y, gamma))
    return compose_quaternion(axis_angle_to_quaternion(y, alpha), first)


def angles_to_axis_angle(alpha: Tensor, beta: Tensor, gamma: Tensor) -> AxisAngle:
    """Return the unit axis (..., 3) and the angle (...) in [0, π] of Euler angles (...)."""
    return matrix_to_axis_angle(angles_to_matrix(alpha, beta, gamma))


def quaternion_to_angles(q: Tensor) -> Angles:
    """Return the Euler angles (...) of quaternions ``q`` (..., 4) of any norm."""
    return matrix_to_angles(quaternion_to_matrix(q))


def axis_angle_to_angles(axis: Tensor, angle: Tensor) -> Angles:
    """Return the Euler angles (...) of the rotation by ``angle`` (...) about ``axis`` (..., 3)."""
    return matrix_to_angles(axis_angle_to_matrix(axis, angle))


# Points of the sphere -------------------------------------------------------------------------------------------------


def angles_to_xyz(alpha: Tensor, beta: Tensor) -> Tensor:
    """Return the point R(alpha, beta, 0) e_y of the unit sphere, (..., 3), of angles (...)."""
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    return torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], dim=-1)


def xyz_to_angles(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and beta (...) of the direction of ``xyz`` (..., 3), the inverse of `angles_to_xyz`; 0, π/2 of 0."""
    x, y, z = as_floating(xyz).unbind(-1)
    # Not acos, which loses half of the digits near the poles.
    off_axis = vector_norm(torch.stack([x, z], dim=-1), dim=-1).masked_fill((xyz == 0).all(-1), 1.0)
    return torch.atan2(x, z), torch.atan2(off_axis, y)
