"""Pages that are written from the code: one for each kind of layer, the keys of a run, and the modules of the API."""

from __future__ import annotations

import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import picture
import yaml

from e3frame.config.init import InitSpec
from e3frame.config.loggers import LoggerSpec
from e3frame.config.optimizers import OptimizerSpec
from e3frame.config.run import RunConfig
from e3frame.config.schedulers import SchedulerSpec
from e3frame.config.targets import TargetSpec
from e3frame.config.trainer import TrainerSpec
from e3frame.data.sources.base import DataSpec
from e3frame.layers._context import INPUTS, LAYERS
from e3frame.model import ModelSpec
from e3frame.spec.base import Spec
from e3frame.spec.docs import keys_of
from e3frame.spec.layer import LayerSpec, Scope, Step
from e3frame.spec.registry import Kinded
from e3frame.spec.validate import validate

MODULES = {
    "e3frame": "check, build, train and load models",
    "e3frame.o3": "irreps, tensor products and spherical harmonics, in e3nn's names and conventions",
    "e3frame.nn": "building blocks of networks as torch modules",
    "e3frame.math": "functions of e3nn's `math`",
    "e3frame.io": "Cartesian and spherical tensors",
    "e3frame.algebra.irreps": "irreps as pure Python",
    "e3frame.algebra.paths": "plans of tensor products",
    "e3frame.kernels": "how a planned product is executed",
    "e3frame.inference.calculator": "the ASE calculator",
    "e3frame.inference.predictions": "predictions for the structures of files",
    "e3frame.viz.tensor_product": "pictures of tensor products",
    "e3frame.spec.layer": "what a layer is to the type checker",
    "e3frame.spec.errors": "mistakes as messages",
}
"""The public modules."""

ELSEWHERE = {"e3frame": "UserError", "e3frame.o3": "Instruction"}
"""Members that have their entry on the page of another module."""

GROUPS: dict[str, type[Spec] | type[Kinded]] = {
    "model": ModelSpec,
    "init": InitSpec,
    "data": DataSpec,
    "task.targets.NAME": TargetSpec,
    "optimizer": OptimizerSpec,
    "scheduler": SchedulerSpec,
    "trainer": TrainerSpec,
    "logger": LoggerSpec,
}
"""The groups of a run, by the key under which they stand."""


def write_pages(root: Path) -> None:
    """Write all of them; a file is touched only if its text changes, so that Sphinx builds no page in vain."""
    texts = {f"layers/{kind}.md": layer_page(kind) for kind in built_in()}
    texts |= {f"api/{module}.md": api_page(module) for module in MODULES}
    texts |= {"layers/index.md": layers_index(), "api/index.md": api_index(), "keys.md": keys_page()}
    for path in (root / "reference").rglob("*.md"):  # of kinds and modules that are no more
        if path.relative_to(root / "reference").as_posix() not in texts:
            path.unlink()
    for name, text in texts.items():
        path = root / "reference" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def built_in() -> list[str]:
    """The kinds of e3frame's own layers, in order."""
    return sorted(kind for kind, spec in LayerSpec.members.items() if spec.__module__.startswith("e3frame."))


@cache
def context() -> Scope:
    """What a layer sees after the layers before the examples."""
    raw = {"r_max": 2.5, "species": ["H", "C", "O"], "inputs": INPUTS, "layers": yaml.safe_load(LAYERS)}
    typed = validate(ModelSpec, {**raw, "outputs": {"total": {"kind": "sum", "of": "energies"}}}).typed()
    last = [step for step in typed.steps if step.path[0] == "layers"][-1]
    return last.scope.bind(last.binding)


def example_step(text: str) -> Step:
    """A layer in its place after these; of a container, its last step."""
    return LayerSpec.parse(yaml.safe_load(text)).thread("example", "example", (), context())[1][-1]


def domains(layer: type[LayerSpec]) -> str:
    """What the layer reads and gives, over all its examples: ``edge, node → node``."""
    found = []
    for text in (layer.example, *layer.variants):
        step = example_step(text)
        read = {each.domain for each in step.scope.bindings.values() if each.key in step.signature.inputs}
        found.append(f"{', '.join(sorted(read)) or 'graph'} → {step.signature.output.domain}")
    return "; ".join(dict.fromkeys(found))


def layer_page(kind: str) -> str:
    """Equation, keys, an example with the irreps that it reads and gives, and its tensor product."""
    layer = LayerSpec.members[kind]
    step = example_step(layer.example)
    parts = [f"# {kind}", prose(inspect.getdoc(layer) or "")]
    if layer.equation:
        parts.append(f"$$\n{layer.equation}\n$$")
    parts += [f"Domains: {domains(layer)}.", "## Keys", keys_table(layer)]
    parts += ["## Example", example(layer.example), html(picture.flow(step))]
    plan = step.spec.product_plan(step.scope)
    if plan is not None:
        parts += ["The paths of its tensor product:", html(picture.paths(plan))]
    if layer.variants:
        parts += ["With other options:", example(*layer.variants)]
    return "\n\n".join(parts) + "\n"


def example(*texts: str) -> str:
    """Layers as YAML, in lines that fit the page."""
    lines = [yaml.safe_dump(yaml.safe_load(text), default_flow_style=True, sort_keys=False, width=82) for text in texts]
    return f"```yaml\n{''.join(lines)}```"


def layers_index() -> str:
    rows = [f"| [{kind}]({kind}.md) | {cell(prose(summary(LayerSpec.members[kind])))} |" for kind in built_in()]
    return f"""# Layers

Every kind of layer that a model may name. `e3frame layers` prints this list, with the layers of your own plugins, and
`e3frame layers convolution` the keys of one. The examples run after these layers:

```yaml
{LAYERS.strip()}
```

| kind | what it does |
|---|---|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{chr(10).join(built_in())}
```
"""


def keys_page() -> str:
    """The keys of a run, group by group."""
    parts = [
        "# Keys of a run",
        "All keys may be set in files and on the command line, as `trainer.max_epochs=20`; in Python they are keywords "
        "of `e3frame.train`. Layers have [pages of their own](layers/index.md).",
        keys_table(RunConfig),
    ]
    for name, spec in GROUPS.items():
        parts += [f"## {name}", prose(summary(spec))]
        if not issubclass(spec, Kinded):
            parts.append(keys_table(spec))
            continue
        members = dict(sorted(spec.members.items()))
        common = set.intersection(*({key.name for key in keys_of(member)} for member in members.values()))
        if len(common) > 3:
            parts += [f"All kinds of {name} have:", keys_table(next(iter(members.values())), common)]
        for kind, member in members.items():
            own = {key.name for key in keys_of(member)} - (common if len(common) > 3 else set())
            parts += [f"### {name}: {kind}", prose(summary(member))]
            parts += [keys_table(member, own)] if own else []
    return "\n\n".join(parts) + "\n"


def api_page(module: str) -> str:
    """What a module defines; of a package, what it offers from the modules in it."""
    package = hasattr(import_module(module), "__path__")
    options = ["members", "show-inheritance", *(["imported-members"] if package else [])]
    options += [f"exclude-members: {ELSEWHERE[module]}"] if module in ELSEWHERE else []
    return f"""# {module}

```{{eval-rst}}
.. automodule:: {module}
{chr(10).join("   :" + (option if ":" in option else f"{option}:") for option in options)}
```
"""


def api_index() -> str:
    rows = [f"| [`{module}`]({module}.md) | {text} |" for module, text in MODULES.items()]
    return f"""# Python API

What these modules offer is kept from one version to the next; other modules may change.

| module | what is in it |
|---|---|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{chr(10).join(MODULES)}
```
"""


def keys_table(spec: type[Spec], only: set[str] | None = None) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys_of(spec):
        if only is None or key.name in only:
            default = "required" if key.default is None else f"`{key.default}`"
            rows.append(f"| `{key.name}` | {key.type} | {cell(default)} | {cell(prose(key.doc))} |")
    return "\n".join(rows) if len(rows) > 2 else "It has no keys."


def summary(spec: type[Spec]) -> str:
    return " ".join((inspect.getdoc(spec) or "").split("\n\n")[0].split())


def prose(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    plain = [part.replace("<", "&lt;").replace("$", r"\$").replace("*", r"\*") for part in text.split("`")]
    code = text.split("`")
    return "`".join(plain[i] if i % 2 == 0 else code[i] for i in range(len(code)))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def html(text: str) -> str:
    return f"```{{raw}} html\n{text}\n```"
