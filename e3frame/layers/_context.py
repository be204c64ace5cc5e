"""Model in which the examples of all layers run, for the tests and the documentation."""

INPUTS = {"total_charge": "0e"}
"""Inputs of the model, one value per frame."""
LAYERS = """
species: {kind: species_embedding, irreps_out: 6x0e}
edge_vectors: {kind: edge_vectors}
edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o + 2e}
radial: {kind: radial_basis, num_basis: 4}
jumping: {kind: radial_basis, basis: chebyshev, num_basis: 3, envelope: {kind: none}}
ending: {kind: radial_basis, basis: constant, num_basis: 1}
a: {kind: convolution, irreps_out: 4x0e + 4x1o, radial_mlp: [4], avg_num_neighbors: 3.0}
b: {kind: convolution, irreps_out: 4x0e + 4x1o + 4x1e, radial_mlp: [4], avg_num_neighbors: 3.0}
x: {kind: convolution, irreps_out: 4x0e + 2x0o + 3x1o + 2x1e + 2x2e, radial_mlp: [4], avg_num_neighbors: 3.0}
scalars: {kind: linear, of: x, irreps_out: 5x0e + 3x0o}
gate_input: {kind: linear, of: x, irreps_out: 2x0o + 9x0e + 3x1o + 2x2e}
energies: {kind: linear, of: x, irreps_out: 0e}
repulsion: {kind: zbl}
charges_and_vectors: {kind: linear, of: x, irreps_out: 0e + 1o}
energy: {kind: sum, of: energies}
"""
"""Layers before the example, which can read any of them."""
