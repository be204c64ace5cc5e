"""Compare a GPU with the CPU: every operator, a model, and a short training; and show how long each backend takes.

    python scripts/check_gpu.py                # on the first CUDA device; under 8 minutes, nothing is downloaded
    python scripts/check_gpu.py --device cpu   # a trial of this program: the backends of the CPU with the reference

Each operator is compared with the reference on the CPU in float64: its values, its gradients, and the gradients of
those, in float64 and float32, for every backend that runs on the device. The exit code is 0 if all agree, 1 if
something differs, and 2 if there is no such device.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import e3frame
from e3frame import kernels, nn, o3
from e3frame.algebra.paths import plan_convolution, plan_elementwise, plan_explicit, plan_fully_connected
from e3frame.algebra.plan import ProductPlan

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}
"""Largest error relative to the largest element of a tensor. Second derivatives in float32 lose the most digits."""
LOSSES = 1e-6
"""Largest relative error of the losses of a training in float64."""
IRREPS, HARMONICS = "32x0e + 32x1o + 32x2e", "0e + 1o + 2e"


Make = Callable[[int], tuple[Callable[..., Tensor], list[Tensor]]]
"""From a number of rows to a function of floating-point tensors, and these."""


@dataclass(frozen=True)
class Case:
    """An operator and its inputs."""

    name: str
    make: Make


def convolution(rows: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
    plan = plan_convolution(IRREPS, HARMONICS, IRREPS)
    edges = 8 * rows
    index = torch.stack([torch.randint(rows, (edges,)), torch.randint(rows, (edges,))])
    sizes = [(rows, plan.dims[0]), (edges, plan.dims[1]), (edges, plan.weight_numel)]
    return lambda x, y, w: kernels.convolution(x, index.to(x.device), y, w, plan, rows), random(*sizes)


def product(plan_of: Callable[[], ProductPlan], shared: bool) -> Make:
    def make(rows: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
        module = o3.TensorProduct.from_plan(plan_of(), internal_weights=False, shared_weights=shared)
        plan = module.plan
        weights = [(plan.weight_numel,) if shared else (rows, plan.weight_numel)] if plan.weight_numel else []
        return module, random((rows, plan.dims[0]), (rows, plan.dims[1]), *weights)

    return make


def module(build: Callable[[], torch.nn.Module], *others: Callable[[int], Tensor], dim: int | None = None) -> Make:
    """A module as a function of its input, ``dim`` wide, and its parameters; ``others`` are integer tensors."""

    def make(rows: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
        built = build()
        names = [name for name, _ in built.named_parameters()]
        integers = [other(rows) for other in others]
        copies: dict[torch.device, torch.nn.Module] = {}

        def call(x: Tensor, *parameters: Tensor) -> Tensor:
            if x.device not in copies:
                copies[x.device] = build().to(x.device)
            there = copies[x.device]
            given = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(there, given, (x, *(other.to(x.device) for other in integers)))

        width = built.irreps_in.dim if dim is None else dim
        return call, random((rows, width)) + [p.detach().double() for p in built.parameters()]

    return make


def self_connection(rows: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
    built, species = nn.SelfConnection(IRREPS, "8x0e", IRREPS, 4), torch.randint(4, (rows,))

    def call(x: Tensor, table: Tensor, w: Tensor) -> Tensor:
        own = species.to(x.device)
        return kernels.self_connection(x, table.index_select(0, own), w, own, built._connection)

    return call, random((rows, built.irreps_in.dim), (4, 8), (built.plan.weight_numel,))


def symmetric_product() -> o3.SymmetricProduct:
    return o3.SymmetricProduct("8x0e + 8x1o + 8x2e", "16x0e + 8x1o", 3, 4)


def edge_vectors(rows: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
    index = torch.randint(rows, (2, 8 * rows))
    return lambda pos, shift: nn.edge_vectors(pos, index.to(pos.device), shift), random((rows, 3), (8 * rows, 3))


def random(*sizes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(size, dtype=torch.float64) for size in sizes]


CASES = [
    Case("convolution", convolution),
    Case("product uvw", product(lambda: plan_fully_connected("8x0e + 8x1o", "4x0e + 4x1o", "8x0e + 8x1o"), True)),
    Case("product uvw, each row", product(lambda: plan_fully_connected("4x0e + 4x1o", "2x0e", "4x0e + 4x1o"), False)),
    Case("product uuu", product(lambda: plan_elementwise("16x0e + 16x1o", "16x1o + 16x1e"), True)),
    Case("product uvu", product(lambda: plan_convolution(IRREPS, HARMONICS, IRREPS), False)),
    Case("product uuw", product(lambda: plan_explicit("8x1o", "8x1o", "8x0e", [(0, 0, 0, "uuw", True)]), True)),
    Case("linear", module(lambda: o3.Linear(IRREPS, IRREPS, biases=True))),
    Case("indexed linear", module(lambda: o3.IndexedLinear(IRREPS, IRREPS, 4), lambda n: torch.randint(4, (n,)))),
    Case("self connection", self_connection),
    Case("symmetric product", module(symmetric_product, lambda n: torch.randint(4, (n,)))),
    Case("spherical harmonics", module(lambda: o3.SphericalHarmonics([0, 1, 2, 3, 4], True), dim=3)),
    Case("radial basis", module(lambda: nn.RadialBasis(nn.BesselBasis(5.0, 8), nn.PolynomialEnvelope(5.0)), dim=3)),
    Case("gate", module(lambda: nn.Gate("32x0e", ["silu"], "64x0e", ["sigmoid"], "32x1o + 32x2e"))),
    Case("perceptron", module(lambda: nn.FullyConnectedNet([8, 64, 64], "silu"), dim=8)),
    Case("edge vectors", edge_vectors),
]


def derivatives(call: Callable[..., Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor]:
    """Values, gradients, and the gradients of those."""
    inputs = [t.requires_grad_() for t in inputs]
    out = call(*inputs)
    first = torch.autograd.grad((out * cotangents[0]).sum(), inputs, create_graph=True)
    total = torch.stack([(g * c).sum() for g, c in zip(first, cotangents[1:], strict=True)]).sum()
    second = []
    if total.requires_grad:
        second = list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))
    return [out.detach(), *(g.detach() for g in first), *second]


def compare(case: Case, device: str, backend: str, dtype: torch.dtype, rows: int) -> float:
    """The largest relative error against the reference on the CPU in float64."""
    torch.manual_seed(0)
    call, inputs = case.make(rows)
    with kernels.use("reference"):
        shape = call(*inputs).shape
    cotangents = [torch.randn(shape, dtype=torch.float64), *map(torch.randn_like, inputs)]
    # Both see the same numbers: those of the smaller type.
    inputs, cotangents = ([t.to(dtype) for t in tensors] for tensors in (inputs, cotangents))
    with kernels.use("reference"):
        expected = derivatives(call, *([t.double() for t in tensors] for tensors in (inputs, cotangents)))
    with kernels.use(backend):
        found = derivatives(call, *([t.detach().clone().to(device) for t in ts] for ts in (inputs, cotangents)))
    errors = [
        (own.cpu().double() - exact).abs().max() / exact.abs().max().clamp(min=1.0)
        for own, exact in zip(found, expected, strict=True)
        if exact.numel()
    ]
    return float(torch.stack(errors).max())


def milliseconds(case: Case, device: str, backend: str, rows: int) -> tuple[float, float]:
    """Median time of the values, and of the values with gradients, in float32."""
    call, inputs = case.make(rows)
    inputs = [t.to(device, torch.float32).requires_grad_() for t in inputs]

    def values() -> None:
        with torch.no_grad():
            call(*inputs)

    def gradients() -> None:
        torch.autograd.grad(call(*inputs).sum(), inputs, allow_unused=True)

    with kernels.use(backend):
        return timed(values, device), timed(gradients, device)


def timed(call: Callable[[], None], device: str, repetitions: int = 7) -> float:
    times = []
    for _ in range(repetitions + 2):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(1e3 * (time.perf_counter() - start))
    return median(times[2:])


def synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def train(device: str, backend: str, epochs: int, folder: Path) -> list[float]:
    """The loss of each epoch of a short training in float64."""
    overrides = {
        **{"model": "nequip_small", "task": "energy_forces", "data": "sample", "data.molecules": "[ethanol]"},
        **{"data.num_train": 32, "data.batch_size": 8, "trainer.max_epochs": epochs, "trainer.dtype": "float64"},
        **{"trainer.accelerator": "cpu" if device == "cpu" else "gpu", "trainer.progress_bar": "false"},
        **{"folder": folder, "data.cache_dir": folder.with_name("cache")},
    }
    with kernels.use(backend), redirect_stdout(StringIO()):
        e3frame.train([f"{key}={value}" for key, value in overrides.items()])
    lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("train_loss")
    return [float(line.split(",")[column]) for line in lines[1:]]


def backends_on(device: str) -> list[str]:
    """All backends that run on the device, and the reference last."""
    fast = "native" if torch.device(device).type == "cpu" else "cuequivariance"
    found = [
        name for name, backend in kernels.BACKENDS.items() if name not in ("native", "cuequivariance", "reference")
    ]
    return [*([fast] if kernels.BACKENDS[fast].available() else []), *found, "reference"]


def check_operators(device: str, rows: int, large: int, console: Console) -> list[str]:
    """Print a table of errors and times; return what differs."""
    wrong, table = [], Table(title=f"operators on {device}, against the reference on the CPU in float64")
    for column in ("operator", "backend", "float64", "float32", "ms", "ms with gradients"):
        table.add_column(column, justify="left" if column in ("operator", "backend") else "right")
    for case in CASES:
        for backend in backends_on(device):
            errors = {dtype: compare(case, device, backend, dtype, rows) for dtype in TOLERANCE}
            bad = [str(dtype) for dtype, error in errors.items() if not error <= TOLERANCE[dtype]]
            wrong += [f"{case.name}, {backend}, {dtype}" for dtype in bad]
            cells = [f"{'[red]' if str(dtype) in bad else ''}{error:.1e}" for dtype, error in errors.items()]
            times = [f"{ms:.2f}" for ms in milliseconds(case, device, backend, large)]
            table.add_row(case.name, backend, *cells, *times)
    console.print(table)
    return wrong


def check_training(device: str, epochs: int, console: Console) -> list[str]:
    """Print the losses of both devices; return what differs."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        expected = train("cpu", "auto", epochs, Path(folder) / "cpu")
        middle = time.perf_counter()
        found = train(device, "reference" if device == "cpu" else "auto", epochs, Path(folder) / "device")
        seconds = (middle - start, time.perf_counter() - middle)
    table = Table(title="training in float64")
    for column in ("epoch", "loss on the CPU", f"loss on {device}, {'reference' if device == 'cpu' else 'auto'}"):
        table.add_column(column, justify="right")
    for epoch, pair in enumerate(zip(expected, found, strict=True), 1):
        table.add_row(str(epoch), *(f"{loss:.10g}" for loss in pair))
    console.print(table)
    console.print(f"seconds, with all that comes before and after: {seconds[0]:.0f} and {seconds[1]:.0f}")
    differs = [abs(a - b) > LOSSES * abs(a) or a != a or b != b for a, b in zip(expected, found, strict=True)]
    return [f"training, epoch {epoch}" for epoch, bad in enumerate(differs, 1) if bad]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ..., or cpu for a trial")
    parser.add_argument("--rows", type=int, default=20, help="rows of the tensors that are compared")
    parser.add_argument("--large", type=int, default=2000, help="rows of the tensors for the times")
    parser.add_argument("--epochs", type=int, default=3, help="of the training")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        print(f"no device {device} on this machine, nothing was checked; --device cpu tries this program")
        return 2
    console = Console(width=120)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    console.print(f"e3frame {e3frame.__version__}, torch {torch.__version__}, {name}")
    wrong = check_operators(str(device), options.rows, options.large, console)
    wrong += check_training(str(device), options.epochs, console)
    console.print("\n".join(f"differs: {what}" for what in wrong) or "all agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
