"""Fixtures that put back what they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from e3frame.kernels.native import library


@pytest.fixture
def use_instruction_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A function that makes the kernels run with an instruction set."""

    def use(number: int) -> None:
        library.kernels.cache_clear()
        monkeypatch.setattr(library, "instruction_set", lambda: number)

    yield use
    monkeypatch.undo()
    library.kernels.cache_clear()


@pytest.fixture
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
