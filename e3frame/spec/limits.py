"""Limits of a config, each with its reason. Anything below them can be built and trained.

They are far above common use: the largest published potentials of this kind have about 10^8 parameters, and their
configs a few hundred values. Anything above them is a typing mistake or an attack.
"""

from __future__ import annotations

import os

BYTES = 1 << 20
"""Largest config file in bytes; reading it takes about fifty times as much memory."""
DEPTH = 40
"""Largest nesting of mappings and lists; each level uses stack in every function that walks a config."""
VALUES = 20_000
"""Most values of a config after its aliases and ``${...}`` are filled in, each of which can expand to many."""
TEXT = 10_000
"""Most characters of a text or an override: parsers of irreps and overrides need time and stack for each."""
CHAIN = 10
"""Longest chain of ``${...}`` references."""
FILLED = 1_000
"""Most ``${...}`` that are filled in, each counted once per reference; OmegaConf parses each within a millisecond."""
LAYERS = 500
"""Most layers of a model after unrolling repeats. Each is a torch module; planning it takes about a millisecond."""
DEGREE = 12
"""Largest l. Coupling coefficients take time and memory of the order l^6, and e3nn's constants end at l = 11."""
TERMS = 1_000
"""Most terms of irreps; ``8x0e + 4x1o + 2x2e`` has three."""
PATHS = 100_000
"""Most combinations of terms in a tensor product; planning takes about ten microseconds each."""
MONOMIALS = 50_000
"""Most products of the components of a channel in a symmetric product, whose couplings take two seconds to compute."""
COMPONENTS = 1 << 18
"""Most components of a field per atom or edge, and units of a hidden layer: 1 MB in float32 per row."""
PARAMETERS = 250_000_000
"""Most weights of a model: 1 GB in float32, and four times that with gradients and Adam's moments."""
DEPTH_OF_MLP = 100
"""Most hidden layers of a multilayer perceptron."""
R_MAX = 100.0
"""Largest cutoff in Å; a sphere of this radius holds several hundred thousand atoms of water."""
LABEL = 1e18
"""Largest magnitude of a label in the units of its file; the square of a larger number overflows float32."""
PROCESSES = 10_000
"""Most processes or threads of one kind, on any machine."""


def cores() -> int:
    """Return the number of cores that this process may use, or the value of ``E3FRAME_CORES``."""
    forced = os.environ.get("E3FRAME_CORES", "")
    if forced.isdecimal() and 0 < int(forced) <= PROCESSES:
        return int(forced)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_processes() -> int:
    """Return the largest number of processes or threads for this machine: two per core, at least eight."""
    return max(8, 2 * cores())


def too_many(number: int) -> tuple[str, str] | None:
    """Return problem and hint if this number of processes or threads is too large for this machine, else None."""
    most = most_processes()
    if number <= most:
        return None
    have = f"this machine has {cores()} core{'s' * (cores() != 1)}"
    return f"must be <= {most}, as {have}; got {number:,}", f"to allow them, set E3FRAME_CORES={number}"
