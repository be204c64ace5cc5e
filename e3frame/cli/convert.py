"""``e3frame convert``: a model of another program as a model of e3frame."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import named
from e3frame.cli.tables import console
from e3frame.compose import from_overrides
from e3frame.spec.base import Spec
from e3frame.spec.errors import UserError
from e3frame.spec.words import printable

_EXAMPLES = """
    e3frame convert mine.model -o model.safetensors     a model of mace-torch, as its training saved it
    e3frame convert mine.model head=Default             one head of several
    e3frame convert checkpoint_sevennet_0.pth           SevenNet-0, from the wheel of sevenn
    e3frame convert --list                              what is read
"""


class ConvertConfig(Spec):
    """Keys of the verb."""

    file: str
    """The model file of the other program. It is read as data: no code in it is run."""
    out: str = "model.safetensors"
    """The model file to write."""
    head: str | None = None
    """The head to convert, of a model that has several."""
    dtype: str | None = None
    """Type of the weights in the new file; null: that in the old one. With float64, their products are not rounded."""
    overwrite: bool = False
    """Replace ``out`` if it exists."""


def parser() -> Parser:
    parser = Parser("convert", _EXAMPLES, words="keys", spec=ConvertConfig, leading=["file", "out"])
    parser.add_argument("-o", "--output", metavar="FILE", help="the same as out=FILE")
    parser.add_argument("--list", action="store_true", help="list the programs whose models are read")
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments or ["--help"])
    if options.list:
        console().print(_families())
        return 0
    words = named(options.words, *(["file"] if options.output else ["file", "out"]))
    if options.output is not None:
        if any(word.startswith("out=") for word in words):
            raise UserError("command-line option -o\n  the file to write is given twice\n  remove -o or out=")
        words.append(f"out={options.output}")
    config = from_overrides(words).parse(ConvertConfig)
    from e3frame.convert.conversion import convert

    done = convert(config.file, config.out, head=config.head, dtype=config.dtype, overwrite=config.overwrite)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in done.summary():
        table.add_row(name, Text(printable(value)))
    console(width=200).print(table)
    print(f"wrote {config.out}")
    return 0


def _families() -> Table:
    from e3frame.convert.family import Family  # whose package registers every family

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("family", "program", "what is read", "licence of the program"):
        table.add_column(heading)
    for kind, family in sorted(Family.members.items()):
        table.add_row(kind, family.program, Text(family.reads), family.licence)
    return table
