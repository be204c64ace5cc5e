"""``e3frame predict``: predictions of a trained model for the structures of files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from e3frame.cli.arguments import Parser
from e3frame.compose import from_overrides
from e3frame.spec.base import Spec
from e3frame.spec.plugins import Names
from e3frame.spec.units import Units
from e3frame.spec.words import counted

_EXAMPLES = """
    e3frame predict runs/first new.xyz out=predicted.xyz
    e3frame predict runs/first new.xyz units.length=bohr keys.total_charge=Q
"""


def _one_or_more(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


class PredictConfig(Spec):
    """Keys of the verb."""

    model: str
    """A trained model: its model.safetensors, the folder of its run, or runs/NAME for the newest run of that name."""
    path: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    """The file to read, or a [list, of, files], in any format that ASE reads."""
    out: str = "predicted.xyz"
    """The extended XYZ file to write."""
    format: str | None = None
    """ASE's name of the format; null: detect it from file name and content."""
    units: Units = Units()
    """Units of the files, such as units.length=bohr; null: what a file says, else Å and eV."""
    batch_size: int = Field(default=64, ge=1)
    """Frames per batch."""
    keys: dict[str, str] = {}  # noqa: RUF012
    """Key of each model input in the frames, such as keys.total_charge=Q."""
    device: str = "cpu"
    """Device of the model: cpu or cuda."""
    plugins: Names = ()
    """Modules to import, if the model has layers of your own."""
    overwrite: bool = False
    """Replace ``out`` if it exists."""


def parser() -> Parser:
    return Parser("predict", _EXAMPLES, words="keys", spec=PredictConfig, leading=["model", "path"])


def main(arguments: list[str]) -> int:
    config = from_overrides(parser().key_values(arguments or ["--help"])).parse(PredictConfig)
    from e3frame.inference.predictions import predict

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
    print(f"wrote {counted(count, 'frame')} to {config.out}")
    return 0
