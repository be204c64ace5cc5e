"""The symmetric product of e3frame and of mace-torch on one input, for ``bench.py``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mace_process import MaceProcess
from torch import Tensor

from e3frame import kernels
from e3frame.algebra.symmetric_product import Basis, SymmetricProductPlan, plan_symmetric_product

CASES = ((32, 600), (128, 600), (32, 75))
"""Channels and atoms."""
PASSES = ("forward", "forward_backward", "double_backward")
DEGREES = "{0}x0e + {0}x1o + {0}x2e + {0}x3o"


class Product:
    """e3frame: l <= 3 -> 0e + 1o with weights for each species, of up to three factors, in the basis of mace-torch."""

    def __init__(self, channels: int, atoms: int, species: int = 4, basis: Basis = "full") -> None:
        ins, outs = DEGREES.format(channels), f"{channels}x0e + {channels}x1o"
        self.plan = plan_symmetric_product(ins, outs, 3, species, basis)
        self.index = torch.randint(species, (atoms,))
        sizes = ((atoms, self.plan.irreps_in.dim), self.plan.weight_shape)
        self.inputs = tuple(torch.randn(size, requires_grad=True) for size in sizes)
        self.o = torch.randn(atoms, self.plan.irreps_out.dim, requires_grad=True)
        self.cotangents = tuple(torch.randn_like(tensor) for tensor in self.inputs)

    def call(self) -> Tensor:
        return kernels.symmetric_product(*self.inputs, self.index, self.plan)

    def forward(self) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (self.call(),)

    def forward_backward(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.call(), self.inputs, self.o)

    def double_backward(self) -> tuple[Tensor, ...]:
        """What a loss on forces asks for: gradients of the gradients, and what comes before."""
        gradients = torch.autograd.grad(self.call(), self.inputs, self.o, create_graph=True)
        return torch.autograd.grad(gradients, (*self.inputs, self.o), self.cotangents)


def as_in_mace(results: Sequence[Tensor], plan: SymmetricProductPlan) -> list[np.ndarray]:
    """Turn x (or its gradient), w and what follows into arrays of mace-torch: x as (n, channels, components), and w as
    one array for each irrep and degree; a single result is an output, whose layout is the same."""
    arrays = [tensor.detach().numpy() for tensor in results]
    if len(arrays) == 1:
        return arrays
    x, w, *rest = arrays
    ends = np.cumsum([mul_ir.dim for mul_ir in plan.irreps_in])[:-1]
    channels = [part.reshape(len(x), plan.mul, -1) for part in np.split(x, ends, axis=1)]
    sizes = [n for ir in plan.copies for n in plan.numbers[ir]]
    return [np.concatenate(channels, axis=2), *np.split(w, np.cumsum(sizes)[:-1], axis=1), *rest]


class Peer(MaceProcess):
    """mace-torch with the numbers of a `Product`; see ``mace_products.py``."""

    def __init__(self, python: str, case: Product, folder: Path) -> None:
        super().__init__(python, "mace_products.py")
        self.case, self.folder, plan = case, folder, case.plan
        x, *weights = as_in_mace(case.inputs, plan)
        numbers = {"x": x, "o": case.o.detach().numpy(), "species": case.index.numpy()}
        numbers |= {f"w{n}": w for n, w in enumerate(weights)}
        numbers |= {f"a{n}": a for n, a in enumerate(as_in_mace(case.cotangents, plan))}
        facts = {"elements": plan.rows, "correlation": plan.correlation}
        facts |= {"irreps_in": str(plan.irreps_in), "irreps_out": str(plan.irreps_out)}
        np.savez(folder / "case.npz", **numbers, **facts)
        self.modes: list[str] = self.ask(make=str(folder / "case.npz"))["modes"]

    def run(self, mode: str, what: str) -> None:
        """Run a pass there."""
        self.ask(run=mode, what=what)

    def check(self, mode: str, what: str) -> float:
        """Return the largest difference of a result from ours, relative to its largest number.

        Raises:
            RuntimeError: the mode cannot run the pass, or its results are others.
        """
        self.ask(run=mode, what=what, save=str(self.folder / "results.npz"))
        with np.load(self.folder / "results.npz") as arrays:
            theirs = [arrays[name] for name in arrays.files]
        ours = as_in_mace(getattr(self.case, what)(), self.case.plan)
        worst = max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(ours, theirs, strict=True))
        if worst > 1e-4:
            raise RuntimeError(f"results differ by {worst:.1e}")
        return worst


Timed = Callable[[dict[str, Callable[[], object]]], dict[str, float]]


def rows(python: str | None, in_turn: Timed) -> Iterator[dict]:
    """Time every pass of every case, in alternating turns.

    Args:
        python: interpreter that has mace-torch; None: no peer.
        in_turn: times sides.
    """
    for channels, atoms in CASES:
        case, reduced = Product(channels, atoms), Product(channels, atoms, basis="reduced")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            peer = stack.enter_context(Peer(python, case, folder)) if python else None
            for what in PASSES:
                sides: dict[str, Callable[[], object]] = {"e3frame": getattr(case, what)}
                sides["reduced basis"] = getattr(reduced, what)
                for mode in peer.modes if peer else ():
                    try:
                        peer.check(mode, what)  # which compiles, too
                    except RuntimeError as reason:
                        print(f"left out: mace-torch, {mode}, {what}: {reason}", file=sys.stderr)
                    else:
                        sides[f"mace-torch, {mode}"] = partial(peer.run, mode, what)
                name = what.replace("_", " + " if what == "forward_backward" else " ")
                yield {"case": f"product, {channels} channels, {atoms} atoms", "what": name, **in_turn(sides)}
