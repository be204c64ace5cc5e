"""mace-torch's symmetric contraction, in an environment of its own, for ``bench_symmetric.py``.

Reads one JSON object a line: ``{"make": file}`` reads the case and answers with the names of its modes;
``{"run": mode, "what": pass}`` runs a pass, with ``"save": file`` its results are written there. A mode that cannot
run a pass answers with the reason.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import mace  # noqa: F401  # before e3nn, whose files it allows torch to load
import numpy as np
import torch
from e3nn import o3
from mace.modules.symmetric_contraction import SymmetricContraction
from mace.tools.compile import prepare
from torch import Tensor, nn


class Case:
    """A symmetric contraction with given weights, and the tensors of its passes.

    The arrays of the file: x (n, channels, components), species (n,), o (n, out), one array ``w{n}`` for each parameter
    and cotangents ``a0``, ``a1``, ... of x and of each parameter.
    """

    def __init__(self, file: str) -> None:
        with np.load(file) as arrays:
            given = {name: arrays[name] for name in arrays.files}
        tensors = {name: torch.from_numpy(array) for name, array in given.items() if array.dtype.kind == "f"}
        species, elements = torch.from_numpy(given["species"]), int(given["elements"])
        arguments = (o3.Irreps(str(given["irreps_in"])), o3.Irreps(str(given["irreps_out"])), int(given["correlation"]))
        torch.set_default_dtype(tensors["x"].dtype)
        self.x, self.o = tensors["x"].requires_grad_(), tensors["o"].requires_grad_()
        self.y = nn.functional.one_hot(species, elements).to(self.x.dtype)
        self.modules: dict[str, nn.Module] = {}
        for name, make in (("plain", SymmetricContraction), ("compiled", prepare(SymmetricContraction))):
            self.modules[name] = make(*arguments, num_elements=elements)
        for module in self.modules.values():
            with torch.no_grad():
                for n, parameter in enumerate(self.parameters(module)):
                    parameter.copy_(tensors[f"w{n}"])
        self.cotangents = [tensors[f"a{n}"] for n in range(1 + len(self.parameters(self.modules["plain"])))]
        self.compiled: dict[str, Callable[..., Any]] = {}

    @staticmethod
    def parameters(module: nn.Module) -> list[nn.Parameter]:
        """Those of each irrep in ascending degree."""
        found = []
        for contraction in module.contractions:
            found += [*reversed(list(contraction.weights)), contraction.weights_max]
        return found

    def run(self, mode: str, what: str) -> list[Tensor]:
        module = self.modules[mode]
        inputs = (self.x, *self.parameters(module))

        def forward() -> Tensor:
            return module(self.x, self.y)

        def first() -> tuple[Tensor, ...]:
            return torch.autograd.grad(module(self.x, self.y), inputs, self.o, create_graph=True)

        def call(function: Callable[[], Any]) -> Any:
            if mode == "plain":
                return function()
            if function.__name__ not in self.compiled:
                self.compiled[function.__name__] = torch.compile(function)
            return self.compiled[function.__name__]()

        if what == "forward":
            with torch.no_grad():
                return [call(forward)]
        if what == "forward_backward":
            return list(torch.autograd.grad(call(forward), inputs, self.o))
        return list(torch.autograd.grad(call(first), (*inputs, self.o), self.cotangents))


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    case: Case | None = None
    for line in sys.stdin:
        wanted, answer = json.loads(line), {}
        try:
            if "make" in wanted:
                case = Case(wanted["make"])
                answer["modes"] = list(case.modules)
            else:
                assert case is not None
                results = case.run(wanted["run"], wanted["what"])
                if "save" in wanted:
                    np.savez(wanted["save"], *(tensor.detach().numpy() for tensor in results))
        except Exception as error:  # whatever a compiler raises; the one who asked says so
            answer["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
