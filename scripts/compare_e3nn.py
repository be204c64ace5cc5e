"""The public names of e3nn's o3, nn, math and io against those of e3frame, as a Markdown table.

    pip install "e3nn==0.6.0"
    python scripts/compare_e3nn.py

Every name is there with the same signature, or the table says why not. For functions and classes that is: the names,
order, kinds and defaults of the arguments; for classes also the public methods, and, of an example of each, the public
attributes and the names and shapes of the parameters. The exit code is 1 if a difference has no explanation.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch

MODULES = ("o3", "o3.experimental", "nn", "math", "math.perm", "io")

#: Public attributes that are parts of how a module works there, and what stands in their place.
INTERNALS = {
    "o3.FullTensorProductv2": {
        **{f"cg_{degrees}": "a constant" for degrees in ("0_0_0", "0_1_1", "1_0_1", "1_1_0", "1_1_1", "1_1_2")},
        **{"inv": "the order of `instructions`", "paths": "`instructions`"},
    },
    "o3.Legendre": {"meta": "no traced graph", "shape_env": "no traced graph"},
    "o3.Linear": {"weight_index_slices": "`weight_view_for_instruction`"},
    "o3.Norm": {"tp": "computed without a product"},
    "o3.ReducedTensorProducts": {"main": "one contraction with `change_of_basis`"},
    "o3.SphericalHarmonics": {"sph_func": "a recursion for all degrees"},
    "nn.Activation": {"paths": "`irreps_in` and `acts`"},
    "nn.BatchNorm": {"features": "`irreps`", "irs": "`irreps`"},
    "nn.Gate": {"mul": "a product written out", "sc": "`plan`"},
    "nn.NormActivation": {"norm": "computed without a module", "scalar_multiplier": "a product written out"},
}

Make = Callable[[ModuleType, ModuleType], torch.nn.Module]
_IRREPS = "2x0e+2x1o"

#: An example of each module, made from o3 and nn of either library.
EXAMPLES: dict[str, Make] = {
    "o3.TensorProduct": lambda o3, nn: o3.TensorProduct(_IRREPS, _IRREPS, _IRREPS, [(0, 1, 1, "uvw", True)]),
    "o3.FullyConnectedTensorProduct": lambda o3, nn: o3.FullyConnectedTensorProduct(_IRREPS, _IRREPS, _IRREPS),
    "o3.FullTensorProduct": lambda o3, nn: o3.FullTensorProduct(_IRREPS, _IRREPS),
    "o3.ElementwiseTensorProduct": lambda o3, nn: o3.ElementwiseTensorProduct(_IRREPS, _IRREPS),
    "o3.TensorSquare": lambda o3, nn: o3.TensorSquare(_IRREPS, _IRREPS),
    "o3.Linear": lambda o3, nn: o3.Linear(_IRREPS, _IRREPS, biases=True),
    "o3.Norm": lambda o3, nn: o3.Norm(_IRREPS),
    "o3.SphericalHarmonics": lambda o3, nn: o3.SphericalHarmonics([0, 1, 2], True),
    "o3.ToS2Grid": lambda o3, nn: o3.ToS2Grid(2, 6),
    "o3.FromS2Grid": lambda o3, nn: o3.FromS2Grid(6, 2),
    "o3.SO3Grid": lambda o3, nn: o3.SO3Grid(1, 2),
    "o3.Legendre": lambda o3, nn: o3.Legendre([0, 1, 2]),
    "o3.SphericalHarmonicsAlphaBeta": lambda o3, nn: o3.SphericalHarmonicsAlphaBeta([0, 1, 2]),
    "o3.ReducedTensorProducts": lambda o3, nn: o3.ReducedTensorProducts("ij=ji", i="1o"),
    "o3.FullTensorProductv2": lambda o3, nn: o3.FullTensorProductv2(_IRREPS, _IRREPS),
    "nn.Gate": lambda o3, nn: nn.Gate("2x0e", [torch.tanh], "2x0e", [torch.tanh], "2x1o"),
    "nn.Activation": lambda o3, nn: nn.Activation("2x0e", [torch.tanh]),
    "nn.NormActivation": lambda o3, nn: nn.NormActivation(o3.Irreps(_IRREPS), torch.sigmoid, bias=True),
    "nn.BatchNorm": lambda o3, nn: nn.BatchNorm(_IRREPS),
    "nn.Dropout": lambda o3, nn: nn.Dropout(_IRREPS, 0.5),
    "nn.FullyConnectedNet": lambda o3, nn: nn.FullyConnectedNet([2, 3, 4], torch.tanh),
    "nn.Extract": lambda o3, nn: nn.Extract(_IRREPS, ["2x1o"], [(1,)]),
    "nn.ExtractIr": lambda o3, nn: nn.ExtractIr(_IRREPS, "1o"),
    "nn.S2Activation": lambda o3, nn: nn.S2Activation("0e+1o", torch.tanh, 6),
    "nn.SO3Activation": lambda o3, nn: nn.SO3Activation(1, 1, torch.tanh, 2),
    "nn.Identity": lambda o3, nn: nn.Identity(_IRREPS, _IRREPS),
}


@dataclass(frozen=True)
class Row:
    """One public name: whether it is there as it is in e3nn."""

    name: str
    status: Literal["same", "same, and more", "explained", "gap"]
    notes: tuple[str, ...] = ()


def compare() -> list[Row]:
    """The rows of the table."""
    return [row for name in MODULES for row in _compare_module(name)]


def _compare_module(name: str) -> Iterator[Row]:
    theirs = import_module(f"e3nn.{name}")
    try:
        ours: Any = import_module(f"e3frame.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"e3frame.{name}":
            raise
        ours = None
    for member in _public_names(theirs):
        full = f"{name}.{member}"
        original = getattr(theirs, member, None) or import_module(f"e3nn.{full}")
        if not hasattr(ours, member) and not _is_module(f"e3frame.{full}"):
            yield Row(full, "gap", ("missing",))
        elif isinstance(original, ModuleType):
            yield Row(full, "same")
        else:
            yield _compare_object(full, original, getattr(ours, member))


def _public_names(module: ModuleType) -> list[str]:
    if not hasattr(module, "__all__"):
        return [name for name, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    # One module there lists its classes, not their names.
    listed = {id(item): name for name, item in vars(module).items()}
    return [item if isinstance(item, str) else listed[id(item)] for item in module.__all__]


def _is_module(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def _compare_object(name: str, theirs: Any, ours: Any) -> Row:
    notes = _compare_signatures(theirs, ours)
    if inspect.isclass(theirs):
        example = EXAMPLES[name](*_libraries()[1]) if name in EXAMPLES else ours
        for member in _own_members(theirs):
            if not hasattr(example, member):
                notes.append(("gap", f"no `{member}`"))
            elif inspect.isroutine(getattr(theirs, member)):
                found = _compare_signatures(getattr(theirs, member), getattr(ours, member))
                notes += [(status, f"`{member}`: {note}") for status, note in found]
    if name in EXAMPLES:
        notes += _compare_examples(name)
    statuses = {status for status, _ in notes}
    worst = next((s for s in ("gap", "explained", "same, and more") if s in statuses), "same")
    return Row(name, worst, tuple(note for _, note in notes))  # type: ignore[arg-type]


def _own_members(owner: type) -> list[str]:
    """Public names of a class, without those it has from torch, tuples or code generation."""
    foreign = {name for base in (torch.nn.Sequential, torch.fx.GraphModule, tuple) for name in dir(base)}
    return [name for name in dir(owner) if not name.startswith("_") and name not in foreign]


def _compare_signatures(theirs: Any, ours: Any) -> list[tuple[str, str]]:
    before, after = (dict(inspect.signature(f).parameters) for f in (theirs, ours))
    notes = []
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in after.values())
    positional = [name for name, p in after.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]
    place = 0
    for name, p in before.items():
        if p.kind is p.VAR_KEYWORD:
            continue
        if p.kind is p.POSITIONAL_OR_KEYWORD and positional[place : place + 1] != [name]:
            notes.append(("gap", f"argument {place} is not `{name}`"))
        elif p.kind is not p.POSITIONAL_OR_KEYWORD and name not in after and not any_keyword:
            notes.append(("gap", f"no argument `{name}`"))
        elif name in after and p.default != after[name].default:
            notes.append(("gap", f"`{name}` is {after[name].default!r} by default, not {p.default!r}"))
        place += p.kind is p.POSITIONAL_OR_KEYWORD
    more = [name for name, p in after.items() if name not in before and p.kind is not p.VAR_KEYWORD]
    if more and not any(p.kind is p.VAR_KEYWORD for p in before.values()):
        required = [name for name in more if after[name].default is inspect.Parameter.empty]
        notes += [("gap", f"requires `{name}`") for name in required]
        optional = [f"`{name}`" for name in more if name not in required]
        notes += [("same, and more", f"also {', '.join(optional)}")] if optional else []
    return notes


def _compare_examples(name: str) -> list[tuple[str, str]]:
    theirs, ours = (
        EXAMPLES[name](import_module(f"{library}.o3"), import_module(f"{library}.nn"))
        for library in ("e3nn", "e3frame")
    )
    notes = []
    for member in sorted({*vars(theirs), *theirs._buffers, *theirs._modules}):
        if not member.startswith("_") and not hasattr(ours, member):
            known = INTERNALS.get(name, {}).get(member)
            notes.append(("explained", f"no `{member}`: {known}") if known else ("gap", f"no attribute `{member}`"))
    before, after = ({n: tuple(p.shape) for n, p in m.named_parameters()} for m in (theirs, ours))
    if before != after or list(before) != list(after):
        notes.append(("gap", f"parameters {after}, not {before}"))
    return notes


def _libraries() -> list[tuple[ModuleType, ModuleType]]:
    """o3 and nn of e3nn, and of e3frame."""
    return [(import_module(f"{name}.o3"), import_module(f"{name}.nn")) for name in ("e3nn", "e3frame")]


def render(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| e3nn | e3frame | |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {row.status} | {'; '.join(row.notes)} |" for row in rows]
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(r.status for r in rows)}
    return "\n".join([*lines, "", f"{len(rows)} names: {', '.join(f'{n} {status}' for status, n in counts.items())}"])


if __name__ == "__main__":
    table = compare()
    print(render(table))
    sys.exit(any(row.status == "gap" for row in table))
