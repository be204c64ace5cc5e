"""All products of e3nn and of e3frame, of random irreps, with the same weights: do their values agree?

    pip install "e3nn==0.6.0"
    python scripts/compare_products.py [count] [--seed SEED]

Each of ``count`` rounds (1000 by default) draws irreps, normalizations, weights and inputs, and runs every class of
product. The table has, for each class, the number of products, of outputs and of paths, and the largest difference
relative to the largest output. The exit code is 1 if any exceeds 1e-12.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import e3nn
import e3nn.o3
import torch

import e3frame.o3
from e3frame.algebra.irreps import Irreps

TOLERANCE = 1e-12

#: A product: the name of its class, its arguments and its options.
Case = tuple[str, tuple[Any, ...], dict[str, Any]]


@dataclass
class Tally:
    """What the products of one class gave."""

    products: int = 0
    outputs: int = 0
    paths: int = 0
    worst: float = 0.0


def random_irreps(rng: random.Random, lmax: int = 4) -> str:
    """Up to four terms, unsorted, some of them repeated."""
    terms = [f"{rng.randint(1, 4)}x{rng.randint(0, lmax)}{rng.choice('eo')}" for _ in range(rng.randint(1, 4))]
    return "+".join(terms)


def cases(rng: random.Random) -> Iterator[Case]:
    """One product of each class, of common irreps."""
    in1, in2, out = (random_irreps(rng) for _ in range(3))
    normalization = {
        "irrep_normalization": rng.choice(["component", "norm"]),
        "path_normalization": rng.choice(["element", "path"]),
    }
    keep = rng.choice([None, ["0e", "1o", "2e", "3o"]])
    yield "FullyConnectedTensorProduct", (in1, in2, out), normalization
    yield "FullTensorProduct", (in1, in2, keep), normalization
    yield "ElementwiseTensorProduct", (in1, _as_many(in1, rng), keep), normalization
    yield "TensorSquare", (in1, None, keep), normalization
    yield "TensorSquare", (in1, out), normalization
    yield _explicit(rng, in1, in2, normalization)


def _as_many(irreps: str, rng: random.Random) -> str:
    """Other irreps, of the same number."""
    number, terms = Irreps(irreps).num_irreps, []
    while number > 0:
        mul = rng.randint(1, number)
        terms.append(f"{mul}x{rng.randint(0, 3)}{rng.choice('eo')}")
        number -= mul
    return "+".join(terms)


def _explicit(rng: random.Random, in1: str, in2: str, normalization: dict[str, str]) -> Case:
    """A path of each connection mode that fits, with random weights and variances."""
    irreps1, irreps2 = Irreps(in1), Irreps(in2)
    out, paths = [], []
    for i, (mul1, ir1) in enumerate(irreps1):
        for j, (mul2, ir2) in enumerate(irreps2):
            modes = {"uvw": rng.randint(1, 4), "uvu": mul1, "uvv": mul2, "uvuv": mul1 * mul2}
            if mul1 == mul2:
                modes |= {"uuw": rng.randint(1, 4), "uuu": mul1}
                modes |= {"uvu<v": mul1 * (mul1 - 1) // 2, "u<vw": rng.randint(1, 4)} if mul1 > 1 else {}
            mode, ir = rng.choice(sorted(modes)), rng.choice(list(ir1 * ir2))
            weighted = mode in ("uvw", "uuw", "u<vw") or rng.random() < 0.5
            paths.append((i, j, len(out), mode, weighted, rng.uniform(0.1, 2)))
            out.append((modes[mode], str(ir)))
    variances = {"in1_var": [rng.uniform(0.1, 2) for _ in irreps1], "out_var": [rng.uniform(0.1, 2) for _ in out]}
    return "TensorProduct", (in1, in2, "+".join(f"{mul}x{ir}" for mul, ir in out), paths), normalization | variances


def difference(case: Case, generator: torch.Generator, tally: Tally) -> float:
    """The largest difference of the outputs of both libraries over the largest output; counts the product."""
    name, arguments, _ = case
    ours, theirs = (_make(library, *case) for library in (e3frame.o3, e3nn.o3))
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs), f"{name}{arguments}: {ours!r} is not {theirs!r}"
    irreps = [ours.irreps_in1] if name == "TensorSquare" else [ours.irreps_in1, ours.irreps_in2]
    inputs = [torch.randn(4, i.dim, generator=generator) for i in irreps]
    found, expected = ours(*inputs), theirs(*inputs)
    assert found.shape == expected.shape
    tally.products += 1
    tally.outputs += found.shape[-1]
    tally.paths += len(ours.instructions)
    scale = max(1.0, expected.abs().amax().item()) if expected.numel() else 1.0
    return (found - expected).abs().amax().item() / scale if found.numel() else 0.0


def _make(library: ModuleType, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return getattr(library, name)(*arguments, **options)


def compare(count: int, seed: int = 0) -> dict[str, Tally]:
    """Run ``count`` rounds in float64."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    tallies: dict[str, Tally] = {}
    for _ in range(count):
        for case in cases(rng):
            tally = tallies.setdefault(case[0], Tally())
            tally.worst = max(tally.worst, difference(case, generator, tally))
    return tallies


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    e3nn.set_optimization_defaults(jit_mode="eager", optimize_einsums=False)
    tallies = compare(arguments.count, arguments.seed)
    print("| product | products | outputs | paths | worst difference |\n|---|---|---|---|---|")
    for name, tally in tallies.items():
        print(f"| {name} | {tally.products} | {tally.outputs} | {tally.paths} | {tally.worst:.1e} |")
    return int(max(tally.worst for tally in tallies.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
