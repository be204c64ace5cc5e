"""``e3frame evaluate``: the errors of a trained model on labelled frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import expanded
from e3frame.compose import compose_config, from_overrides
from e3frame.data.sources.base import AnyData
from e3frame.files.regular import require_new
from e3frame.spec.base import Spec
from e3frame.spec.errors import UserError
from e3frame.spec.plugins import Names

_EXAMPLES = """
    e3frame evaluate runs/first md.xyz
    e3frame evaluate runs/first data=xyz 'data.path=[a.xyz,b.xyz]' data.keys.energy=E_dft
"""


class EvaluateConfig(Spec):
    """Keys of the verb."""

    model: str
    """A trained model: its model.safetensors, the folder of its run, or runs/NAME for the newest run of that name."""
    data: AnyData
    """The frames to test on: a file, or a data config with its keys, as in training."""
    split: Literal["train", "val", "test", "all"] | None = None
    """Split to evaluate; null: the test frames, or all frames of files unless data.split or data.test_path is given."""
    plugins: Names = ()
    """Modules to import, if the model has layers of your own."""
    device: str = "cpu"
    """Device of the model: cpu or cuda."""
    out: str | None = None
    """A JSON file for the errors, which are printed in any case."""
    overwrite: bool = False
    """Replace ``out`` if it exists."""


def parser() -> Parser:
    return Parser("evaluate", _EXAMPLES, words="keys", spec=EvaluateConfig, leading=["model", "data"])


def main(arguments: list[str]) -> int:
    words = parser().key_values(arguments or ["--help"])
    own = [word for word in words if word.startswith(("model=", "plugins="))]
    if sum(word.startswith("model=") for word in own) != 1:
        raise UserError("one model=FILE is required: the model.safetensors of a run")
    if not any(word.startswith("data=") for word in words):
        raise UserError("data=... is required: a file, such as data=test.xyz, or a data config, such as data=sample")
    composed = compose_config(expanded([word for word in words if word not in own]), config_name="evaluate")
    composed.raw.update(from_overrides(own).raw)
    config = composed.parse(EvaluateConfig)
    if config.out is not None:
        require_new(Path(config.out), config.overwrite)
    from e3frame.evaluate.evaluation import error_table, evaluate, write_metrics

    split = config.split or ("test" if config.data.is_divided else "all")
    whole = config.data.as_one_set() if split == "all" else None
    remarks: list[str] = list(_remarks(config)) if split == "all" and config.data.paths else []
    found = evaluate(config.model, whole or config.data, split, config.device, config.plugins, remarks.append)
    if whole is not None:
        found = {"all" if split == "train" else split: evaluation for split, evaluation in found.items()}
    console = Console()
    console.print(error_table(found, f"errors of {config.model} on {config.data.title}"))
    for remark in remarks:
        console.print(Text(remark), soft_wrap=True)
    if config.out is not None:
        try:
            write_metrics(Path(config.out), {name: evaluation.as_json() for name, evaluation in found.items()})
        except OSError as error:
            raise UserError(f"{config.out} cannot be written: {error.strerror}") from None
        print(f"wrote {config.out}")
    return 0


def _remarks(config: EvaluateConfig) -> Iterator[str]:
    """Notes if all frames of files are evaluated."""
    from e3frame.config.model_paths import model_path
    from e3frame.run.contents import learned_from

    known = learned_from(model_path(config.model).parent, config.data.files_read())
    if known:
        files = ", ".join(known)
        yield f"the model was trained on frames of {files}; split=test evaluates only the test frames of data.split"
    elif config.split is None:
        yield "evaluating all frames; split=test evaluates only the test frames of data.split"
