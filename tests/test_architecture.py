"""The order of imports, read from the source: what is above may use what is below, never the other way round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import e3frame

PACKAGE = Path(e3frame.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package at the top of its files. Layers reach nn and o3 inside functions alone.
ALLOWED = {
    "algebra": {"algebra"},
    "kernels": {"algebra", "kernels"},
    "o3": {"algebra", "kernels", "o3"},
    "math": {"algebra", "kernels", "o3", "math"},
    "io": {"algebra", "kernels", "o3", "io"},
    "nn": {"algebra", "kernels", "o3", "math", "nn"},
    "spec": {"algebra", "spec"},
    "layers": {"algebra", "spec", "layers"},
    "model": {"algebra", "spec", "layers"},
    "network": {"spec", "model", "nn"},
    "data": {"spec", "data"},
    "config": {"spec", "layers", "model", "data", "train"},
    "train": {"", "algebra", "o3", "io", "nn", "spec", "layers", "model", "network", "data", "config", "inference"}
    | {"viz", "train"},
    "inference": {"", "io", "spec", "layers", "model", "network", "data", "train", "inference"},
    "viz": {"algebra", "spec", "o3", "train", "inference", "viz"},
    "compose": {"spec", "config", "compose"},
    "sweep": {"algebra", "spec", "config", "sweep"},
    "cli": {"", "algebra", "spec", "layers", "model", "data", "config", "compose", "sweep", "cli"},
    "__init__": set(),
}
TORCH_FREE = ("algebra", "spec", "layers", "model", "config", "compose", "sweep", "cli")
HEAVY = {"torch", "lightning", "torch_geometric", "torchmetrics", "ase", "matplotlib", "safetensors", "optuna"}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Modules imported when the file is imported: not in functions, not for type checkers alone."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "e3frame" else [node.module]
            )
            yield from ((name, node.lineno) for name in names)
        pending.extend(ast.iter_child_nodes(node))


def test_files_were_found() -> None:
    assert len(MODULES) > 60
    assert {part_of(file) for file in MODULES} == set(ALLOWED)


def test_imports_run_downward() -> None:
    wrong = []
    for file in MODULES:
        for name, line in imports(file):
            top, _, rest = name.partition(".")
            if top == "e3frame" and rest.partition(".")[0] not in ALLOWED[part_of(file)]:
                wrong.append(f"{file.relative_to(PACKAGE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_what_is_heavy_stays_away_from_the_type_checker() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {name}"
        for file in MODULES
        for name, line in imports(file)
        if (part_of(file) in TORCH_FREE and name.partition(".")[0] in HEAVY)
        or (name.partition(".")[0] == "hydra" and part_of(file) not in ("compose", "cli"))
        or (name.partition(".")[0] == "lightning" and part_of(file) not in ("train", "data"))
    ]
    assert not wrong, "\n".join(wrong)


def test_e3nn_is_for_tests_alone() -> None:
    wrong = [str(file) for file in MODULES for name, _ in imports(file) if name.partition(".")[0] == "e3nn"]
    assert not wrong


def test_files_are_short() -> None:
    long = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in MODULES}
    assert not {file: lines for file, lines in long.items() if lines > 400}


def test_no_machine_paths() -> None:
    pattern = re.compile(r"/(home|root|tmp|work)/")
    assert not [str(file) for file in MODULES if pattern.search(file.read_text(encoding="utf-8"))]
