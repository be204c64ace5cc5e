"""The group theory of O(3) in pure Python and NumPy: irreps, the paths of products, and exact constants.

These conventions hold in the whole package. They are those of e3nn (0.5 and later), so its weights can be loaded:

- Irreps are written ``32x0e + 16x1o``: multiplicity, degree l, parity (e even, o odd). The last axis of a
  tensor contains the terms in order, each flattened from (multiplicity, component). Irreps sort by (l, p), odd first.
- Degree 1 is the Cartesian vector (x, y, z). The y axis is the polar axis of the spherical harmonics and of the Euler
  angles: R(alpha, beta, gamma) = R_y(alpha) R_x(beta) R_y(gamma). Components of degree l run over m = -l..l.
- Spherical harmonics are real, without the Condon-Shortley phase. ``normalization``: ``component`` (squared norm 2l + 1
  on the unit sphere), ``norm`` (unit norm), ``integral`` (unit integral over the sphere).
- ``wigner_3j(l1, l2, l3)`` is the real invariant tensor of unit Frobenius norm; its sign is that of the Clebsch-Gordan
  coefficients of SU(2) under ``change_basis_real_to_complex``.
- ``irrep_normalization``: the assumed size of inputs, ``component`` (unit variance of each component) or ``norm`` (unit
  norm of each irrep). ``path_normalization``: ``element`` (all terms of a sum have equal variance) or ``path`` (all
  paths have). With ``component``, the outputs of every module have unit variance at initialisation.
- Constants are computed once, exactly, in float64, and cast on use.
"""

from __future__ import annotations

from e3frame.algebra.irreps import Irrep, Irreps, IrrepsSyntaxError, MulIr

__all__ = ["Irrep", "Irreps", "IrrepsSyntaxError", "MulIr"]
