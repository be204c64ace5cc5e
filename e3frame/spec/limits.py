"""Limits of a config, each with its reason. Anything below them can be built and trained.

They are far above what is in use: the largest published potentials of this kind have some 10^8 parameters, and their
configs a few hundred values. Anything above them is a typing mistake, or meant to do harm.
"""

from __future__ import annotations

import os

BYTES = 1 << 20
"""Bytes of a config file; reading it takes about fifty times as much memory."""
DEPTH = 40
"""Nesting of mappings and lists; each level uses several calls of every function that walks a config."""
VALUES = 20_000
"""Values of a config once its aliases and ``${...}`` are filled in, each of which may stand for many."""
TEXT = 10_000
"""Characters of one text, or of one override: parsers of irreps and overrides take time and stack for each."""
CHAIN = 10
"""Length of a chain of ``${...}`` that refer to each other."""
LAYERS = 500
"""Layers of a model once its repeats are unrolled. Each is a torch module and is planned within a millisecond or so."""
DEGREE = 12
"""Largest l. Coupling coefficients take time and memory of the order l^6, and e3nn's constants end at l = 11."""
TERMS = 1_000
"""Terms of irreps, such as the three of ``8x0e + 4x1o + 2x2e``."""
PATHS = 100_000
"""Combinations of terms in a tensor product; planning takes about ten microseconds for each."""
COMPONENTS = 1 << 18
"""Components of one field per atom or edge, and units of a hidden layer: 1 MB in float32 for each row."""
PARAMETERS = 250_000_000
"""Weights of a model: 1 GB in float32, and four times that with gradients and Adam's moments."""
DEPTH_OF_MLP = 100
"""Hidden layers of one multilayer perceptron."""
R_MAX = 100.0
"""Cutoff in Å: a water box has two million atoms within it."""
LABEL = 1e18
"""Size of a label in the units of its file; the square of a larger number overflows float32."""
PROCESSES = 10_000
"""Processes or threads of any one kind, on any machine."""


def cores() -> int:
    """Cores that this process may use, or as many as ``E3FRAME_CORES`` says."""
    forced = os.environ.get("E3FRAME_CORES", "")
    if forced.isdecimal() and 0 < int(forced) <= PROCESSES:
        return int(forced)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_processes() -> int:
    """Largest number of processes or threads on this machine: two for each core, and at least eight."""
    return max(8, 2 * cores())


def too_many(number: int) -> tuple[str, str] | None:
    """Problem and hint if this number of processes or threads is too large for the machine, else None."""
    most = most_processes()
    if number <= most:
        return None
    have = f"this machine has {cores()} core{'s' * (cores() != 1)}"
    return f"must be <= {most}, as {have}; got {number:,}", f"to allow them, set E3FRAME_CORES={number}"
