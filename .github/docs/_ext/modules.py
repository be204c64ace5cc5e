"""The reference of the Python API: one page for each public module, written by Sphinx from docstrings."""

from __future__ import annotations

from importlib import import_module
from inspect import isfunction

MODULES = {
    "Models and runs": {
        "e3frame": "check, build, train and load models",
        "e3frame.inference.calculator": "a trained model as an ASE calculator",
        "e3frame.inference.predictor": "a trained model as a function from atoms to arrays, in batches",
        "e3frame.inference.predictions": "predictions for the structures of files",
        "e3frame.inference.saved": "models in files",
        "e3frame.spec.errors": "mistakes as messages",
        "e3frame.cli": "the command line as a function",
    },
    "Algebra": {
        "e3frame.o3": "irreps, tensor products and spherical harmonics, in e3nn's names and conventions",
        "e3frame.nn": "building blocks of networks as torch modules",
        "e3frame.math": "functions of e3nn's `math`",
        "e3frame.math.perm": "permutations",
        "e3frame.io": "Cartesian and spherical tensors",
        "e3frame.viz": "pictures of tensor products and spherical functions",
        "e3frame.algebra.irreps": "irreps as pure Python",
        "e3frame.algebra.paths": "plans of tensor products",
    },
    "Extending": {
        "e3frame.spec.layer": "layers: what they are to the type checker",
        "e3frame.config.losses": "losses",
        "e3frame.config.optimizers": "optimizers",
        "e3frame.config.schedulers": "schedules of the learning rate",
        "e3frame.config.loggers": "loggers",
        "e3frame.data.sources.base": "sources of data",
        "e3frame.data.sources.files": "file formats",
        "e3frame.sweep.spec": "samplers and pruners of searches",
        "e3frame.spec.quantities": "physical quantities",
        "e3frame.spec.plugins": "which plugins are imported, and where they come from",
        "e3frame.kernels": "operators, and the backends that run them",
    },
}
"""The public modules, in groups."""

MEMBERS = {
    "e3frame": ("check", "build", "train", "load_model", "ModelSpec"),
    "e3frame.inference.predictor": ("Predictor",),
    "e3frame.inference.saved": ("save_model", "load_model", "SavedModel"),
    "e3frame.cli": ("main",),
    "e3frame.config.optimizers": ("OptimizerSpec",),
    "e3frame.data.sources.base": ("DataSpec", "DividedSpec"),
    "e3frame.data.sources.files": ("FilesSpec",),
    "e3frame.sweep.spec": ("SamplerSpec", "PrunerSpec"),
    "e3frame.spec.errors": ("UserError", "SpecError", "DataError", "FileError"),
}
"""What a page shows of a module, in this order; of other modules everything that is in ``__all__``, or has a
docstring."""

ALSO = {
    "e3frame": (
        *("api.Checked", "model.TypedModel", "config.run.TypedRun", "config.init.Transfer", "network.Model"),
        *("spec.statistics.Statistics", "run.training.RunResult", "evaluate.evaluation.Evaluation"),
        *("evaluate.metrics.Errors", "evaluate.residuals.Residual"),
    ),
    "e3frame.inference.predictor": ("data.pipeline.graphs.Graph",),
    "e3frame.config.optimizers": ("config.optimizers.base.Groups",),
}
"""Types of other modules that functions of a module take or return, without ``e3frame.``."""

ELSEWHERE = {"e3frame.o3": "Instruction"}
"""Members that have their entry on the page of another module."""


def modules() -> dict[str, str]:
    """All public modules, with what is in them."""
    return {module: about for group in MODULES.values() for module, about in group.items()}


def api_page(module: str) -> str:
    """What a module defines; of a package, what it offers from the modules in it."""
    parts = [f"# {module}"]
    if module in MEMBERS:
        parts += [_directive("automodule", module), *(_entry(f"{module}.{name}") for name in MEMBERS[module])]
    else:
        options = ["members:", "show-inheritance:"]
        options += ["imported-members:"] if hasattr(import_module(module), "__path__") else []
        options += [f"exclude-members: {ELSEWHERE[module]}"] if module in ELSEWHERE else []
        parts += [_directive("automodule", module, *options)]
    if module in ALSO:
        parts += ["## What they take and return", *(_entry(f"e3frame.{name}") for name in ALSO[module])]
    return "\n\n".join(parts) + "\n"


def _entry(path: str) -> str:
    """The entry of one class, function or type."""
    module, _, name = path.rpartition(".")
    value = getattr(import_module(module), name)
    if isinstance(value, type):
        return _directive("autoclass", path, "members:", "show-inheritance:")
    return _directive("autofunction" if isfunction(value) else "autodata", path)


def _directive(name: str, argument: str, *options: str) -> str:
    return "\n".join(["```{eval-rst}", f".. {name}:: {argument}", *(f"   :{option}" for option in options), "```"])


def api_index() -> str:
    """A table of the modules for each group."""
    tables = []
    for title, group in MODULES.items():
        rows = [f"| [`{module}`]({module}.md) | {about} |" for module, about in group.items()]
        tables.append("\n".join([f"## {title}", "", "| module | what is in it |", "|---|---|", *rows]))
    return f"""# Python API

What these modules offer is kept from one version to the next; other modules may change.

{chr(10).join(f"{table}{chr(10)}" for table in tables)}
```{{toctree}}
:hidden:

{chr(10).join(modules())}
```
"""
