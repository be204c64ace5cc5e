"""Native kernels in forked processes: they finish, with the same numbers, whatever ran before the fork."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from support.native import PLANS, large_graph, needs_native
from support.operators import OPERATORS, SAMPLES
from torch import Tensor

from e3frame import kernels
from e3frame.kernels.native import library

pytestmark = needs_native

SECONDS = 60
PLAN = PLANS["several_into_one"]
GRAPH = large_graph(PLAN, True)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """And a team of threads that the parent has used."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    work()
    yield
    torch.set_num_threads(threads)


def work() -> list[bytes]:
    """Every operator, and one of torch's own, on tensors that are large enough for two threads where that is easy."""
    x, edge_index, y, w = GRAPH
    x = x * 2
    vectors = torch.linspace(-1, 1, 3 * 9000, dtype=torch.float64).view(-1, 3)
    outs = [
        kernels.convolution(x, edge_index, y, w, PLAN, len(x)),
        kernels.edge_vectors(vectors[: len(x)], edge_index, None),
        OPERATORS["harmonics"](vectors, *SAMPLES["harmonics"][1:]),
        OPERATORS["radial"](vectors, *SAMPLES["radial"][1:]),
    ]
    for name, operator in OPERATORS.items():
        out = operator(*(t.detach() if isinstance(t, Tensor) else t for t in SAMPLES[name]))
        outs += out if isinstance(out, tuple) else [out]
    return [out.numpy().tobytes() for out in outs]


def in_a_child(call: Callable[[], bool]) -> bool:
    """What ``call`` returns in a forked process that ends in time."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if call() else 1
        finally:
            os._exit(code)
    pidfd = os.pidfd_open(child)
    try:
        ended = bool(select.select([pidfd], [], [], SECONDS)[0])
        if not ended:
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1] == 0 and ended
    finally:
        os.close(pidfd)


def test_every_kernel_in_a_child_and_in_its_child() -> None:
    expected = work()
    assert library.threads() == 2
    assert in_a_child(lambda: library.threads() == 1 and work() == expected)
    assert in_a_child(lambda: in_a_child(lambda: work() == expected))


def test_a_child_that_asks_for_threads() -> None:
    """Torch's own operators would wait for ever."""
    x, edge_index, y, w = GRAPH
    expected = kernels.convolution(x, edge_index, y, w, PLAN, len(x))

    def ask() -> bool:
        torch.set_num_threads(2)
        return kernels.convolution(x, edge_index, y, w, PLAN, len(x)).numpy().tobytes() == expected.numpy().tobytes()

    assert in_a_child(ask)


class Molecules(torch.utils.data.Dataset):
    """Items that are computed with kernels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, item: int) -> Tensor:
        x, edge_index, y, w = GRAPH
        return kernels.convolution(x * (item + 1), edge_index, y, w, PLAN, len(x))


@pytest.mark.filterwarnings("ignore:.*fork")
def test_workers_of_a_loader() -> None:
    loader = torch.utils.data.DataLoader(
        Molecules(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=SECONDS
    )
    assert torch.equal(torch.cat(list(loader)), torch.stack([Molecules()[n] for n in range(4)]))


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_pool() -> None:
    expected = work()
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(work) for _ in range(2)]
        assert all(future.result(timeout=SECONDS) == expected for future in futures)
