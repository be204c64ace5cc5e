"""The report of a search: a table, figures, ``sweep.html``, and ``best.yaml`` to repeat the best run."""

from __future__ import annotations

import base64
import html
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from e3frame.config.run import RunConfig
from e3frame.spec.validate import validate
from e3frame.sweep.spec import COSTS
from e3frame.sweep.study import Search
from e3frame.sweep.table import columns, number, outcome, parameters, summary, trial_table, written
from e3frame.sweep.trials import Trial, best, front

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

_ENOUGH = 12
"""Complete trials needed to estimate the importance of the parameters."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:1150px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
img{max-width:100%;display:block;margin:.5rem 0}
pre{background:#f4f6f8;padding:.7rem 1rem;overflow-x:auto;border-radius:4px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;white-space:nowrap}
th,td{text-align:right;padding:.2rem .7rem;border-bottom:1px solid #e4e7eb;font-variant-numeric:tabular-nums}
th:nth-child(2),td:nth-child(2){text-align:left;white-space:normal;min-width:11rem}
tr.best{background:#fdf1ec;font-weight:600}tr.quiet{color:#8a94a0}
"""


def write_report(search: Search, console: Console, command: Sequence[str]) -> None:
    """Write figures, ``sweep.html`` and ``best.yaml`` into the study's folder, and print their names.

    Args:
        search: has a complete trial.
        command: the command of the search, for the page.
    """
    from e3frame.files.written import write_file
    from e3frame.viz.training import save

    trials, folder = search.trials(), search.folder
    found = best(trials)
    assert found is not None
    figures = _figures(search, trials, _titles(found))
    images = [save(figure, folder / f"{name}.png") for name, figure in figures.items()]
    file = write_best(found, search)
    page = _page(search, trials, images, command, found)
    write_file(folder / "sweep.html", page.encode())
    console.print(trial_table(trials, search.spec, rows=len(trials)))
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"\nresults are in [bold]{shown}/[/bold]", soft_wrap=True)
    console.print(f"  report    sweep.html\n  figures   {', '.join(image.name for image in images)}", soft_wrap=True)
    console.print(f"  best run  e3frame train {shown / file.name}", soft_wrap=True, highlight=False)


def write_best(trial: Trial, search: Search) -> Path:
    """Write the run config of a trial, with which the run can be repeated."""
    from e3frame.files.written import write_file

    assert trial.config is not None
    values = ", ".join(
        f"{name} {number(v)}" for name, v in zip(search.spec.objectives, trial.values or (), strict=True)
    )
    config = {**trial.config, "name": f"{search.spec.name}_best"}
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)
    head = f"# Trial {trial.number} of the sweep {search.spec.name}: {values}\n"
    return write_file(search.folder / "best.yaml", f"{head}{text}".encode())


def _figures(search: Search, trials: Sequence[Trial], titles: Mapping[str, str]) -> dict[str, Figure]:
    """The figures for which there are enough trials."""
    from e3frame.viz.search import error_against_cost, history, importance, parallel_coordinates

    objectives, names = search.spec.objectives, parameters(trials)
    complete = [trial for trial in trials if trial.outcome == "complete"]
    numbers = [trial.number for trial in complete]
    values = {name: [(trial.measured or {})[name] for trial in complete] for name in objectives}
    pruned = [trial.number for trial in trials if trial.outcome == "pruned"]
    figures = {"history": history(numbers, {titles[name]: of for name, of in values.items()}, pruned)}
    if parts := _importances(search, len(complete)):
        shown = {o: {names[parameter]: part for parameter, part in of.items()} for o, of in parts.items()}
        figures["importance"] = importance(shown, len(complete))
    if len(complete) > 1:
        points = [{names[name]: value for name, value in trial.point.items()} for trial in complete]
        figures["parallel_coordinates"] = parallel_coordinates(points, values[objectives[0]], titles[objectives[0]])
    cost = next((name for name in objectives if name in COSTS), "step_ms")
    error = next((name for name in objectives if name not in COSTS), None)
    if error is not None:
        costs = [(trial.measured or {})[cost] for trial in complete]
        pairs = [Trial(k, "complete", {}, pair) for k, pair in enumerate(zip(costs, values[error], strict=True))]
        unbeaten = [pair.number for pair in front(pairs)]
        labels = (titles[cost], titles[error])
        figures["error_against_cost"] = error_against_cost(costs, values[error], numbers, unbeaten, labels)
    return figures


def _titles(trial: Trial) -> dict[str, str]:
    """Objectives with their units."""
    from e3frame.evaluate.metrics import units

    config = validate(RunConfig, trial.config)
    known = {
        f"val_{name}": f"val_{name} ({unit})" if unit else f"val_{name}" for name, unit in units(config.task).items()
    }
    return {"val_loss": "val_loss", "step_ms": "training step (ms)", "parameters": "parameters", **known}


def _importances(search: Search, complete: int) -> dict[str, dict[str, float]]:
    """Parameter importance by PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): how the best third differs from all.

    Empty if the trials are too few to tell it from chance.
    """
    import optuna

    if complete < _ENOUGH:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=1 / 3)
    return {
        name: optuna.importance.get_param_importances(search.study, evaluator=evaluator, target=partial(_objective, k))
        for k, name in enumerate(search.spec.objectives)
    }


def _objective(number: int, trial: FrozenTrial) -> float:
    return trial.values[number]


def _page(search: Search, trials: Sequence[Trial], images: Sequence[Path], command: Sequence[str], found: Trial) -> str:
    """The report as one self-contained page."""
    spec, title = search.spec, html.escape(f"Sweep {search.spec.name}")
    pictures = "\n".join(f"<h2>{image.stem.replace('_', ' ').capitalize()}</h2>\n{_image(image)}" for image in images)
    assert found.config is not None
    config = yaml.safe_dump(dict(found.config), sort_keys=False, allow_unicode=True, width=110)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>{html.escape(summary(trials, spec))}</p>\n<pre>{html.escape(shlex.join(command))}</pre>\n{pictures}\n"
        f"<h2>Trials</h2>\n<p>Highlighted: Pareto-optimal trials.</p>\n"
        f'<div class="scroll">{_rows(search, trials)}</div>\n'
        f"<h2>The best run (trial {found.number})</h2>\n<p><code>e3frame train best.yaml</code> repeats it.</p>\n"
        f"<details><summary>best.yaml</summary><pre>{html.escape(config)}</pre></details>\n</body></html>\n"
    )


def _image(file: Path) -> str:
    """An embedded 150 dpi PNG, at a size where its text matches the page."""
    content = file.read_bytes()
    width = int.from_bytes(content[16:20], "big") * 96 // 150
    data = base64.b64encode(content).decode()
    return f'<img alt="{file.stem}" width="{width}" src="data:image/png;base64,{data}">'


def _rows(search: Search, trials: Sequence[Trial]) -> str:
    spec, names = search.spec, parameters(trials)
    ahead = {trial.number for trial in front(trials)}
    lines = ["".join(f"<th>{html.escape(head)}</th>" for head in ("trial", "outcome", *columns(spec), *names.values()))]
    classes = ["head"]
    for trial in trials:
        measured = trial.measured or {}
        cells = [str(trial.number), outcome(trial), *(number(measured.get(name)) for name in columns(spec))]
        cells += [written(trial.point[name]) if name in trial.point else "" for name in names]
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
        quiet = trial.outcome not in ("complete", "pruned", "running")
        classes.append("best" if trial.number in ahead else "quiet" if quiet else "trial")
    body = "\n".join(f'<tr class="{name}">{line}</tr>' for name, line in zip(classes, lines, strict=True))
    return f"<table>\n{body}\n</table>"
