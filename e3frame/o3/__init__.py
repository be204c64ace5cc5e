"""The algebra of O(3) as torch functions and modules, in e3nn's API. See `e3frame.algebra` for the conventions."""

from __future__ import annotations

from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.algebra.plan import Instruction
from e3frame.o3 import irrep
from e3frame.o3.angular import (
    Legendre,
    SphericalHarmonicsAlphaBeta,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)
from e3frame.o3.experimental import FullTensorProductv2
from e3frame.o3.linear import IndexedLinear, Linear
from e3frame.o3.named_products import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorSquare,
)
from e3frame.o3.norm import Norm
from e3frame.o3.reduced import ReducedTensorProducts
from e3frame.o3.rotation import (
    angles_to_axis_angle,
    angles_to_matrix,
    angles_to_quaternion,
    angles_to_xyz,
    axis_angle_to_angles,
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    compose_angles,
    compose_axis_angle,
    compose_quaternion,
    identity_angles,
    identity_quaternion,
    inverse_angles,
    inverse_quaternion,
    matrix_to_angles,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_x,
    matrix_y,
    matrix_z,
    quaternion_to_angles,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    rand_angles,
    rand_axis_angle,
    rand_matrix,
    rand_quaternion,
    xyz_to_angles,
)
from e3frame.o3.s2grid import FromS2Grid, ToS2Grid, irfft, rfft, s2_grid, spherical_harmonics_s2_grid
from e3frame.o3.so3grid import SO3Grid
from e3frame.o3.spherical_harmonics import SphericalHarmonics, spherical_harmonics
from e3frame.o3.state import state_dict_for_e3nn
from e3frame.o3.symmetric_product import SymmetricProduct
from e3frame.o3.tensor_product import TensorProduct
from e3frame.o3.wigner import (
    change_basis_real_to_complex,
    so3_generators,
    su2_generators,
    wigner_3j,
    wigner_D,
    wigner_D_from_matrix,
)

__all__ = [
    "ElementwiseTensorProduct",
    "FromS2Grid",
    "FullTensorProduct",
    "FullTensorProductv2",
    "FullyConnectedTensorProduct",
    "IndexedLinear",
    "Instruction",
    "Irrep",
    "Irreps",
    "Legendre",
    "Linear",
    "Norm",
    "ReducedTensorProducts",
    "SO3Grid",
    "SphericalHarmonics",
    "SphericalHarmonicsAlphaBeta",
    "SymmetricProduct",
    "TensorProduct",
    "TensorSquare",
    "ToS2Grid",
    "angles_to_axis_angle",
    "angles_to_matrix",
    "angles_to_quaternion",
    "angles_to_xyz",
    "axis_angle_to_angles",
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "change_basis_real_to_complex",
    "compose_angles",
    "compose_axis_angle",
    "compose_quaternion",
    "identity_angles",
    "identity_quaternion",
    "inverse_angles",
    "inverse_quaternion",
    "irfft",
    "irrep",
    "matrix_to_angles",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_x",
    "matrix_y",
    "matrix_z",
    "quaternion_to_angles",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
    "rand_angles",
    "rand_axis_angle",
    "rand_matrix",
    "rand_quaternion",
    "rfft",
    "s2_grid",
    "so3_generators",
    "spherical_harmonics",
    "spherical_harmonics_alpha",
    "spherical_harmonics_alpha_beta",
    "spherical_harmonics_s2_grid",
    "state_dict_for_e3nn",
    "su2_generators",
    "wigner_3j",
    "wigner_D",
    "wigner_D_from_matrix",
    "xyz_to_angles",
]
