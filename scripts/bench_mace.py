"""A MACE of e3frame and of mace-torch, in an environment of its own, on the same structures, for ``bench.py``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import NEIGHBORS, R_MAX, SPECIES, Step, e3frame_step, structures
from mace_process import MaceProcess

from e3frame.spec.elements import ATOMIC_NUMBERS

CASES = (
    # (molecules or cells, atoms of each, periodic, channels)
    (5, 15, False, 32),
    (32, 15, False, 32),
    (5, 15, False, 128),
    (1, 216, True, 32),
)
MODES = ("plain", "compiled")


def step_of(graphs: int, atoms: int, periodic: bool, channels: int) -> Step:
    """The preset ``mace``."""
    return e3frame_step(graphs, atoms, periodic, "mace", channels)


class Peer(MaceProcess):
    """mace-torch in a process of its own; see ``mace_steps.py``.

    Raises:
        RuntimeError: the model cannot be built there.
    """

    def __init__(self, python: str, case: tuple[int, int, bool, int], mode: str, folder: Path) -> None:
        super().__init__(python, "mace_steps.py")
        frames = structures(*case[:3])
        numbers: dict[str, Any] = {"graphs": len(frames), "r_max": R_MAX, "neighbors": NEIGHBORS}
        numbers["species"] = sorted(ATOMIC_NUMBERS[symbol] for symbol in SPECIES)
        for n, atoms in enumerate(frames):
            numbers |= {f"z{n}": atoms.numbers, f"pos{n}": atoms.positions}
            numbers |= {f"cell{n}": atoms.cell.array, f"pbc{n}": atoms.pbc}
        np.savez(folder / "case.npz", **numbers)
        self.num_parameters = int(self.ask(make=str(folder / "case.npz"), channels=case[3], mode=mode)["parameters"])

    def run(self, what: str) -> None:
        self.ask(run=what)


Timed = Callable[[dict[str, Callable[[], object]]], dict[str, float]]


def rows(python: str | None, in_turn: Timed, peak_of: Callable[[str, int, int], float]) -> Iterator[dict]:
    """Times of training steps and of energies with forces in alternating turns, then the peak memory of steps.

    Args:
        python: interpreter that has mace-torch; None: no peer.
        in_turn: times sides.
        peak_of: peak memory of our step: ("mace", molecules, channels) -> MiB.
    """
    for case in CASES:
        name = _name(*case)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            ours = step_of(*case)
            peers = {mode: _peer(stack, python, case, mode, Path(folder)) for mode in MODES if python}
            for what in ("train", "infer"):
                ours.prepare(what)
                sides: dict[str, Callable[[], object]] = {"e3frame": getattr(ours, what)}
                for mode, peer in peers.items():
                    if peer is not None and _can(peer, mode, what):
                        sides[f"mace-torch, {mode}"] = partial(peer.run, what)
                yield {"case": name, "what": what, **in_turn(sides)}
    for case in CASES[:3]:
        row: dict[str, Any] = {"case": _name(*case), "what": "MiB", "e3frame": peak_of("mace", case[0], case[3])}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            peer = _peer(stack, python, case, "plain", Path(folder)) if python else None
            if peer is not None:
                row["mace-torch, plain"] = peer.ask(peak="train")["MiB"]
        yield row


def _name(graphs: int, atoms: int, periodic: bool, channels: int) -> str:
    return f"{'cell' if periodic else f'{graphs} molecules'} of {atoms} atoms, {channels} channels"


def _peer(stack: ExitStack, python: str, case: tuple[int, int, bool, int], mode: str, folder: Path) -> Peer | None:
    try:
        return stack.enter_context(Peer(python, case, mode, folder))
    except RuntimeError as reason:
        print(f"left out: mace-torch, {mode}: {reason}", file=sys.stderr)
        return None


def _can(peer: Peer, mode: str, what: str) -> bool:
    """Run once, which compiles; say why not."""
    try:
        peer.run(what)
    except RuntimeError as reason:
        print(f"left out: mace-torch, {mode}, {what}: {reason}", file=sys.stderr)
        return False
    return True
