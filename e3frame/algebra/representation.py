"""The e3nn-style methods of irreps that return matrices. They run in torch, which is imported on the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from e3frame.algebra.irreps import Irreps

__all__ = ["Representation"]


class Representation:
    """Base class of irreps and their direct sums: the matrices that represent rotations and inversions."""

    __slots__ = ()

    def _direct_sum(self) -> Irreps:
        raise NotImplementedError

    def D_from_angles(self, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None = None) -> Tensor:
        """Return the matrix of the rotation R_y(alpha) R_x(beta) R_y(gamma), followed by ``k`` inversions.

        Args:
            alpha, beta, gamma: Euler angles in radians, of shapes (...) that broadcast.
            k: number of inversions, integers of shape (...); by default none.

        Returns:
            (..., dim, dim), block-diagonal.
        """
        from e3frame.o3 import representation

        return representation.D_from_angles(self._direct_sum(), alpha, beta, gamma, k)

    def D_from_matrix(self, R: Tensor) -> Tensor:
        """Return the matrix of rotations or reflections.

        Args:
            R: orthogonal matrices (..., 3, 3).

        Returns:
            (..., dim, dim), block-diagonal.

        Raises:
            ValueError: a matrix that is not orthogonal (not checked in compiled code).
        """
        from e3frame.o3 import representation

        return representation.D_from_matrix(self._direct_sum(), R)

    def D_from_quaternion(self, q: Tensor, k: Tensor | None = None) -> Tensor:
        """Return the matrix (..., dim, dim) of quaternions ``q`` (..., 4), followed by ``k`` (...) inversions."""
        from e3frame.o3 import representation

        return representation.D_from_quaternion(self._direct_sum(), q, k)

    def D_from_axis_angle(self, axis: Tensor, angle: Tensor) -> Tensor:
        """Return the matrix (..., dim, dim) of the rotation by ``angle`` (...) about ``axis`` (..., 3)."""
        from e3frame.o3 import representation

        return representation.D_from_axis_angle(self._direct_sum(), axis, angle)
