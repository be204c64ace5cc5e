"""``e3frame irreps``: the terms of irreps, and tables of their tensor products."""

from __future__ import annotations

from functools import reduce

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from e3frame.algebra.irreps import Irreps, IrrepsSyntaxError
from e3frame.algebra.paths import plan_full
from e3frame.cli.arguments import Parser
from e3frame.cli.tables import console
from e3frame.spec.errors import UserError
from e3frame.spec.irreps import too_large

_EXAMPLES = """
    e3frame irreps "2x0e+3x1o"                       terms, dimensions, slices
    e3frame irreps "2x0e+3x1o" x "5x0e+7x1e"         the table of products
    e3frame irreps 1o x 1o x 1o                      from left to right
"""
_TIMES = ("x", "×", "*", "⊗")


def parser() -> Parser:
    parser = Parser("irreps", _EXAMPLES)
    parser.add_argument("irreps", nargs="+", help="irreps; write x between those to multiply")
    return parser


def main(arguments: list[str]) -> int:
    factors = _factors(parser().parse_args(arguments).irreps)
    out = console()
    if len(factors) == 1:
        _show_terms(factors[0], out)
    else:
        reduce(lambda left, right: _show_product(left, right, out), factors)
    return 0


def read_irreps(text: str, name: str | None = None) -> Irreps:
    """Irreps given as an argument.

    Raises:
        UserError: the text is not a list of irreps, with a mark below the mistake; or it is empty.
    """
    head = f"{name}: " if name else ""
    try:
        irreps = Irreps(text)
    except IrrepsSyntaxError as error:
        raise UserError(f"{head}expected {error.expected}\n  {text}\n  {' ' * error.offset}^") from None
    problem = too_large(irreps)
    if problem is not None:
        raise UserError(f"{head}{problem}")
    if irreps.dim == 0:
        raise UserError(f"{head}{text!r} is empty; write at least one irrep, such as 16x0e")
    return irreps


def _factors(words: list[str]) -> list[Irreps]:
    texts: list[list[str]] = [[]]
    for word in words:
        if word in _TIMES:
            texts.append([])
        else:
            texts[-1].append(word)
    for n, text in enumerate(texts, 1):
        if not text:
            raise UserError(f"factor {n} of {' '.join(words)!r} is missing: write irreps on both sides of each x")
    return [read_irreps(" ".join(text)) for text in texts]


def _show_terms(irreps: Irreps, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading, justify in (
        ("term", "left"),
        ("copies", "right"),
        ("degree l", "right"),
        ("parity", "left"),
        ("dim", "right"),
        ("slice", "right"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for mul_ir, where in zip(irreps, irreps.slices(), strict=True):
        mul, ir = mul_ir
        parity = "even" if ir.p == 1 else "odd"
        table.add_row(str(mul_ir), str(mul), str(ir.l), parity, str(mul_ir.dim), f"{where.start}:{where.stop}")
    console.print(table)
    console.print(_summary(irreps), highlight=False)
    if irreps.regroup() != irreps:
        console.print(f"sorted and merged: {_spaced(irreps.regroup())}", highlight=False)


def _show_product(left: Irreps, right: Irreps, console: Console) -> Irreps:
    """Print the table of products of two direct sums; return all products, sorted and merged."""
    plan = plan_full(left, right)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("⊗", style="bold", no_wrap=True)
    for mul_ir in plan.irreps_in2:
        table.add_column(str(mul_ir))
    for i1, mul_ir in enumerate(plan.irreps_in1):
        cells = [
            " + ".join(str(plan.irreps_out[ins.i_out]) for ins in plan.instructions if ins[:2] == (i1, i2))
            for i2 in range(len(plan.irreps_in2))
        ]
        table.add_row(str(mul_ir), *cells)
    gives = plan.irreps_out.regroup()
    console.print(table)
    console.print(f"{_spaced(left)} ⊗ {_spaced(right)} gives", style="dim", highlight=False)
    console.print(_summary(gives), highlight=False)
    return gives


def _summary(irreps: Irreps) -> str:
    counts = f"dim {irreps.dim}, {irreps.num_irreps} irrep{'s' * (irreps.num_irreps != 1)}, lmax {irreps.lmax}"
    return f"[bold]{_spaced(irreps)}[/bold]  {counts}"


def _spaced(irreps: Irreps) -> str:
    return " + ".join(map(str, irreps))
