"""Pages that are written from the code: one for each kind of layer, and those of keys and of modules."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path

import picture
import yaml
from keys import cell, keys_page, keys_table, prose, sections, summary
from modules import api_index, api_page, modules

from e3frame.layers._context import INPUTS, LAYERS
from e3frame.model import ModelSpec
from e3frame.spec.layer import LayerSpec, Scope, Step
from e3frame.spec.validate import validate


def write_pages(root: Path) -> None:
    """Write all of them; a file is touched only if its text changes, so that Sphinx builds no page in vain."""
    texts = {f"layers/{kind}.md": layer_page(kind) for kind in built_in()}
    texts |= {f"api/{module}.md": api_page(module) for module in modules()}
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
    parts += sections(layer, "")
    parts += ["## Example", example(layer.example), html(picture.flow(step))]
    plan = step.spec.product_plan(step.scope)
    if plan is not None:
        parts += ["The paths of its tensor product:", html(picture.paths(plan))]
    if layer.variants:
        parts += ["With other options:", example(*layer.variants)]
    return "\n\n".join(parts) + "\n"


def example(*texts: str) -> str:
    """Layers as YAML, in lines that fit the page."""
    lines = [yaml.safe_dump(yaml.safe_load(text), default_flow_style=True, sort_keys=False, width=96) for text in texts]
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


def html(text: str) -> str:
    return f"```{{raw}} html\n{text}\n```"
