"""Backends: who runs an operator with a plan, in which order they are asked, and how one is added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import ref

from e3frame.algebra.environment import unknown_backend, wanted_backend
from e3frame.algebra.errors import EnvironmentVariableError
from e3frame.kernels.constants import known_to_compilers

__all__ = ["BACKENDS", "OPERATORS", "Backend", "check_choice", "kept_with_plans", "register", "run", "use"]

REFERENCE = "reference"


Plan = TypeVar("Plan")
Result = TypeVar("Result")


def kept_with_plans(write: Callable[[Plan], Result]) -> Callable[[Plan], Result]:
    """A function of a plan whose results are kept as long as the plan, which compilers take for constants.

    A plan is found by identity, which is fast; a plain tuple by its value.
    """
    known: dict[Any, tuple[Result, ref[Any] | None]] = {}

    @known_to_compilers
    def find(plan: Plan) -> Result:
        key = plan if type(plan) is tuple else id(plan)
        kept = known.get(key)
        if kept is None:
            watched = None if key is plan or plan is None else ref(plan, lambda _: known.pop(key, None))
            kept = known[key] = (write(plan), watched)
        return kept[0]

    return find


@dataclass(frozen=True)
class Backend:
    """One implementation of operators, registered by the file that defines it.

    Attributes:
        name: as ``E3FRAME_BACKEND`` and ``e3frame info`` give it.
        operators: a function for each operator that it has, with the arguments of the operator's function in
            `e3frame.kernels`, all positional and the plan last. For tensors that it does not take, such as those of
            another device or type, it returns ``NotImplemented``, and the next backend is asked.
        runs: whether it runs an operator with a plan; asked once for each plan.
        available: whether it runs at all on this machine.
        status: one line for ``e3frame info``: what is there, or why there is nothing.
        priority: backends of higher priority are asked first; 20 for ours, 0 for the reference.

    A backend that has the identity on CUDA devices, and nothing else:

    >>> def activation(x, plan):
    ...     return plan.c * plan.a * x if x.is_cuda else NotImplemented
    >>> mine = Backend("mine", {"activation": activation}, runs=lambda operator, plan: plan.function == "identity")
    >>> register(mine).name
    'mine'
    >>> unregister("mine")
    """

    name: str
    operators: Mapping[str, Callable[..., Any]]
    runs: Callable[[str, Any], bool] = lambda operator, plan: True
    available: Callable[[], bool] = lambda: True
    status: Callable[[], str] = lambda: "available"
    priority: int = 30


BACKENDS: dict[str, Backend] = {}
"""All backends by name, in the order in which they are asked."""

OPERATORS = (
    *("activation", "convolution", "edge_vectors", "gate", "indexed_linear", "linear", "pairs", "product"),
    *("radial_basis", "self_connection", "spherical_harmonics", "symmetric_product"),
)
_forced: list[str] = []
_orders: dict[str, Callable[[Any], tuple[str, ...]]] = {}
"""For each operator, the backends to ask for a plan: see `find`."""


def register(backend: Backend) -> Backend:
    """Add a backend.

    Raises:
        ValueError: another backend has this name.
    """
    if backend.name in BACKENDS:
        raise ValueError(f"a backend named {backend.name!r} is registered already; choose another name")
    unknown = sorted(set(backend.operators).difference(OPERATORS))
    if unknown:
        raise ValueError(
            f"backend {backend.name!r}: unknown operators {', '.join(unknown)}; known: {', '.join(OPERATORS)}"
        )
    BACKENDS[backend.name] = backend
    for each in sorted(BACKENDS.values(), key=lambda each: -each.priority):
        BACKENDS[each.name] = BACKENDS.pop(each.name)
    _forget()
    return backend


def unregister(name: str) -> None:
    """Take a backend away again, for tests."""
    del BACKENDS[name]
    _forget()


def chosen() -> str:
    """Return the requested backend or ``auto``: that of the innermost `use`, else ``E3FRAME_BACKEND``."""
    return _forced[-1] if _forced else wanted_backend()


@contextmanager
def use(name: str) -> Iterator[None]:
    """Choose a backend, as ``E3FRAME_BACKEND`` does, for a while: for tests and benchmarks.

    Raises:
        ValueError: there is no such backend, or it is not available.
    """
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"backend {name!r} is required; known backends are auto, {', '.join(BACKENDS)}")
    _require_available(name, f"backend {name!r} is required")
    _forced.append(name)
    _forget()
    try:
        yield
    finally:
        _forced.pop()
        _forget()


def check_choice() -> None:
    """Raise an EnvironmentVariableError if ``E3FRAME_BACKEND`` names no backend, or one that is not available."""
    name = wanted_backend()
    if name != "auto" and name not in BACKENDS:
        raise unknown_backend(["auto", *BACKENDS])
    _require_available(name, f"E3FRAME_BACKEND={name} is set")


def _require_available(name: str, why: str) -> None:
    if name != "auto" and not BACKENDS[name].available():
        raise EnvironmentVariableError(f"{why}, but it is not available: {BACKENDS[name].status()}")


def find(operator: str, plan: Any) -> tuple[str, ...]:
    """The backends to ask, in order: all, or the chosen one and the reference."""
    wanted = chosen()
    if wanted not in BACKENDS:
        check_choice()
    names = BACKENDS if wanted == "auto" else dict.fromkeys((wanted, REFERENCE))
    return tuple(
        name
        for name in names
        if operator in BACKENDS[name].operators and BACKENDS[name].available() and BACKENDS[name].runs(operator, plan)
    )


def _forget() -> None:
    """Ask all backends again which plans they run."""
    for operator in OPERATORS:
        _orders[operator] = kept_with_plans(partial(find, operator))


def run(operator: str, plan: Any, *arguments: Any) -> Any:
    """Run an operator with the first backend that takes the arguments; the reference takes all."""
    for name in _orders[operator](plan):
        out = BACKENDS[name].operators[operator](*arguments, plan)
        if out is not NotImplemented:
            return out
    raise NotImplementedError(f"no backend runs {operator}")
