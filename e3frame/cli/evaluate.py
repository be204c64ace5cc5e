"""``e3frame evaluate``: the errors of a saved model on labelled frames."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from e3frame.compose import compose_config
from e3frame.data.specs import AnyData, SplitSpec
from e3frame.spec.base import Spec
from e3frame.spec.errors import UserError

_USAGE = """usage: e3frame evaluate model=FILE data=NAME [data.KEY=VALUE ...] [split=test] [out=FILE]

  e3frame evaluate model=runs/first/model.safetensors data=xyz data.path=md.xyz split=all

model   a model.safetensors
data    a data config, as in training
split   train, val, test (the default) or all: files are not divided then
device  cpu (the default) or cuda
out     a JSON file for the errors; they are printed in any case"""


class EvaluateConfig(Spec):
    """Arguments of the verb."""

    model: str
    """The file of a saved model."""
    data: AnyData
    """What to test it on."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Which frames."""
    device: str = "cpu"
    """Where to run."""
    out: str | None = None
    """A JSON file for the errors."""


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    models = [argument for argument in arguments if argument.startswith("model=")]
    if len(models) != 1:
        raise UserError("one model=FILE is required: the model.safetensors of a run")
    composed = compose_config([a for a in arguments if a not in models], config_name="evaluate")
    composed.raw["model"] = models[0].removeprefix("model=")
    config = composed.parse(EvaluateConfig)
    from e3frame.inference.evaluate import error_table, evaluate, write_metrics

    whole = config.split == "all" and "split" in type(config.data).model_fields
    # All frames of a file are one set, of which there may be too few to divide.
    data = config.data.replace(split=SplitSpec(val=0, test=0)) if whole else config.data
    found = evaluate(config.model, data, config.split, config.device)
    if whole:
        found = {"all" if split == "train" else split: evaluation for split, evaluation in found.items()}
    Console(width=None).print(error_table(found, f"errors of {config.model}"))
    if config.out is not None:
        write_metrics(Path(config.out), {name: evaluation.as_json() for name, evaluation in found.items()})
        print(f"written to {config.out}")
    return 0
