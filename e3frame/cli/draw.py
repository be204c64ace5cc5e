"""``e3frame draw``: pictures of tensor products, spherical harmonics and learning curves."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e3frame.algebra.paths import (
    ProductPlan,
    plan_convolution,
    plan_elementwise,
    plan_full,
    plan_fully_connected,
    plan_square,
)
from e3frame.cli.arguments import Options, Parser
from e3frame.cli.irreps import read_irreps
from e3frame.files.regular import read_regular, require_new
from e3frame.files.yaml_file import read_yaml
from e3frame.spec.errors import UserError
from e3frame.spec.validate import SpecErrors, validate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from e3frame.config.targets import TaskSpec

_EXAMPLES = """
    e3frame draw tp "5x0e+5x1e" "6x0e+4x1e" "15x0e+3x1e" -o tp.png      fully connected tensor product
    e3frame draw tp "2x0e+3x1o" "5x0e+7x1e" -o tp.png                   full tensor product
    e3frame draw tp "32x0e+32x1o" "0e+1o+2e" --product convolution      channel-wise product, as in NequIP
    e3frame draw sh "0e+1o+2e+3o" -o sh.png                             spherical harmonics
    e3frame draw errors runs/small runs/large -o errors.png             learning curve: one point for each run
"""

_NAME = "e3frame draw"
_MARKS = {".png": "Software", ".svg": "Creator", ".pdf": "Creator"}
"""Metadata field of each format that names the program."""

_Plan = Callable[..., ProductPlan]

#: For each product: its name in titles, its plan, and the smallest and largest number of irreps.
_PRODUCTS: dict[str, tuple[str, _Plan, int, int]] = {
    "fully_connected": ("FullyConnectedTensorProduct", plan_fully_connected, 3, 3),
    "full": ("FullTensorProduct", plan_full, 2, 3),
    "elementwise": ("ElementwiseTensorProduct", plan_elementwise, 2, 3),
    "square": ("TensorSquare", plan_square, 1, 2),
    "convolution": ("channel-wise product", plan_convolution, 2, 3),
}


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    path = _checked_path(options.output, options.overwrite)
    figure = {"tp": _product, "sh": _harmonics, "errors": _errors}[options.what](options)
    _save(figure, path, options.dpi)
    print(path)
    return 0


def parser() -> Parser:
    parser = Parser("draw", _EXAMPLES, words="files")
    whats = parser.add_subparsers(dest="what", required=True, metavar="tp|sh|errors", parser_class=Options)
    product = whats.add_parser("tp", help="a tensor product")
    product.add_argument("irreps", nargs="+", help="irreps of both inputs, and of the output or those to keep of it")
    product.add_argument("--product", choices=_PRODUCTS, help="default: fully_connected for three irreps, full for two")
    harmonics = whats.add_parser("sh", help="spherical harmonics")
    harmonics.add_argument("irreps", nargs="?", default="3", help="highest degree, or irreps (default: %(default)s)")
    errors = whats.add_parser("errors", help="errors of runs by the size of their training sets")
    errors.add_argument(
        "runs", nargs="+", type=Path, help="folders of finished runs, or runs/NAME for the newest run of that name"
    )
    for name, verb in (("tp.png", product), ("sh.png", harmonics), ("errors.png", errors)):
        verb.add_argument("-o", "--output", default=name, help="PNG, SVG or PDF file to write (default: %(default)s)")
        verb.add_argument("--overwrite", action="store_true", help="replace a file even if e3frame did not draw it")
        verb.add_argument("--dpi", type=int, default=150, help="pixels per inch (default: %(default)s)")
    return parser


def _product(options: argparse.Namespace) -> Figure:
    names = ("in1", "in2", "out")
    given = [read_irreps(text, name) for text, name in zip(options.irreps, names, strict=False)]
    kind = options.product or {1: "square", 2: "full"}.get(len(given), "fully_connected")
    title, planner, least, most = _PRODUCTS[kind]
    if not least <= len(options.irreps) <= most:
        needed = f"{least}" if least == most else f"{least} or {most}"
        raise UserError(
            f"a {kind} product needs {needed} irreps, got {len(options.irreps)}: {' '.join(options.irreps)}"
        )
    try:
        plan = planner(*given)
    except ValueError as error:
        raise UserError(str(error)) from None
    from e3frame.viz.tensor_product import draw_tensor_product

    return draw_tensor_product(plan, title=title)[0]


def _harmonics(options: argparse.Namespace) -> Figure:
    irreps = int(options.irreps) if options.irreps.isdecimal() else read_irreps(options.irreps)
    from e3frame.viz.spherical import draw_spherical_harmonics

    try:
        return draw_spherical_harmonics(irreps)[0]
    except ValueError as error:
        raise UserError(str(error)) from None


def _errors(options: argparse.Namespace) -> Figure:
    """MAE of each target on the test frames, or else on the validation or training frames."""
    from e3frame.config.model_paths import run_folder
    from e3frame.viz.training import errors_by_size

    curves: dict[str, list[tuple[int, float]]] = {}
    for folder in options.runs:
        metrics, task = _finished(run_folder(folder))
        split = "test" if "test" in metrics else "val" if "val" in metrics else "train"
        for name in task.targets:
            if name not in metrics[split]:  # no frame of the split has this label
                continue
            error = metrics[split][name]
            unit = f" ({error['unit']})" if error["unit"] else ""
            title = f"{task.key(name)}: {split} MAE{unit}"
            curves.setdefault(title, []).append((metrics["train"]["frames"], error["mae"]))
    return errors_by_size(curves)


def _finished(folder: Path) -> tuple[dict[str, Any], TaskSpec]:
    from e3frame.config.targets import TaskSpec

    file = folder / "metrics.json"
    try:
        metrics = json.loads(read_regular(file))
    except FileNotFoundError:
        raise UserError(f"{folder} has no {file.name}\n  give the folder of a finished run") from None
    except OSError as error:
        raise UserError(f"{file}\n  {error.strerror}\n  give the folder of a finished run") from None
    except (ValueError, RecursionError):
        raise UserError(f"{file}\n  not written by e3frame, or damaged") from None
    raw = read_yaml(folder / "config.yaml").raw
    try:
        task = validate(TaskSpec, raw.get("task"))
    except SpecErrors as errors:
        raise UserError(f"{folder / 'config.yaml'}\n  not a run config: {errors.errors[0].problem}") from None
    _require_errors(metrics, task, file)
    return metrics, task


def _require_errors(metrics: Any, task: TaskSpec, file: Path) -> None:
    """Check that each split has positive, finite errors, as a logarithmic axis needs."""
    try:
        frames, good = metrics["train"]["frames"], isinstance(metrics["train"]["frames"], int)
        for split in {"train", "val", "test"} & metrics.keys():
            for name in task.targets.keys() & metrics[split].keys():
                error = metrics[split][name]
                good &= isinstance(error["unit"], str) and isinstance(error["mae"], float | int)
                good &= 0 < error["mae"] < math.inf
        good &= frames > 0
    except (AttributeError, KeyError, TypeError):
        good = False
    if not good:
        raise UserError(f"{file}\n  not written by e3frame, or damaged")


def _checked_path(text: str, overwrite: bool) -> Path:
    path = Path(text)
    if path.suffix.lower() not in _MARKS:
        raise UserError(f"{path}: the file name must end in .png, .svg or .pdf")
    require_new(path, overwrite or _is_drawn(path), "--overwrite")
    return path


def _is_drawn(path: Path) -> bool:
    """Whether e3frame drew a picture, so that it may be replaced without ``--overwrite``."""
    try:
        return _NAME.encode() in read_regular(path)
    except OSError:
        return False


def _save(figure: Figure, path: Path, dpi: int) -> None:
    from e3frame.files.written import replace_file
    from e3frame.viz.style import rendered

    suffix = path.suffix.lower()
    content = rendered(figure, format=suffix[1:], dpi=dpi, metadata={_MARKS[suffix]: _NAME})
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
