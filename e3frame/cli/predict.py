"""``e3frame predict``: what a model says of the structures of files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from e3frame.cli.arguments import asks_for_help, refuse
from e3frame.cli.shorthand import named
from e3frame.compose import from_overrides
from e3frame.spec.base import Spec
from e3frame.spec.plugins import Names
from e3frame.spec.units import Units
from e3frame.spec.words import counted

_USAGE = """usage: e3frame predict model=FILE path=FILE [out=FILE] [units.length=bohr] ...

  e3frame predict model=runs/first/model.safetensors path=new.xyz out=predicted.xyz

model         a model.safetensors, the folder of its run, or runs/NAME for the newest run of that name
path          a file, or [several, of, them], in any format that ASE reads
out           the extended XYZ file to write; predicted.xyz where not given
format        ASE's name of the format; by name and content where not given
units.length  of the files; where not given what they say, else Å
batch_size    frames at once; 64 where not given
keys.NAME     key of the frames that holds the input NAME of the model, such as keys.total_charge=Q
device        cpu (the default) or cuda
plugins       modules with layers of your own, which are imported because you name them
overwrite     true replaces an existing out"""


def _one_or_more(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


class PredictConfig(Spec):
    """Arguments of the verb."""

    model: str
    """The file of a saved model, or the folder of its run."""
    path: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    """The files to read."""
    out: str = "predicted.xyz"
    """The file to write."""
    format: str | None = None
    """ASE's name of the format."""
    units: Units = Units()
    """Of the files."""
    batch_size: int = Field(default=64, ge=1)
    """Frames at once."""
    keys: dict[str, str] = {}  # noqa: RUF012
    """Input of the model: the key of the frames that holds it."""
    device: str = "cpu"
    """Where to run."""
    plugins: Names = ()
    """Modules that may be imported because the model names them."""
    overwrite: bool = False
    """Replace ``out``."""


def main(arguments: list[str]) -> int:
    if not arguments or asks_for_help(arguments):
        print(_USAGE)
        return 0
    options = [argument for argument in arguments if argument[:1] == "-"]
    refuse(options, "e3frame predict", ["--help"], lambda: ["units.", "keys.", *PredictConfig.model_fields])
    config = from_overrides(named(arguments, "model", "path")).parse(PredictConfig)
    from e3frame.inference.predict import predict

    count = predict(
        config.model,
        config.path,
        config.out,
        format=config.format,
        units=config.units,
        batch_size=config.batch_size,
        device=config.device,
        plugins=config.plugins,
        keys=config.keys,
        overwrite=config.overwrite,
    )
    print(f"{counted(count, 'frame')} written to {config.out}")
    return 0
