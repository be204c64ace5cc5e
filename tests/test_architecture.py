"""The order of imports, read from the source: what is above may use what is below, never the other way round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from torch.nn import Module

import e3frame
from e3frame.spec.registry import Kinded

PACKAGE = Path(e3frame.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the lowest floor to the highest. A floor imports from itself and from those below it, in whatever part of a file.
FLOORS = [
    *("version", "algebra", "kernels", "o3", "math", "io", "nn", "spec", "files", "viz", "layers", "model", "network"),
    *("data.formats", "data.sources", "config", "data.pipeline", "preflight", "inference", "convert", "evaluate"),
    *("training", "run", "compose", "sweep", "cli", "api", "e3frame"),
]
# Imports upward, all inside functions: methods that e3nn's users expect on a class of a lower floor.
UPWARD = {
    ("algebra.irreps", "o3"),
    ("algebra.representation", "o3"),
    ("o3.tensor_product", "viz"),
    ("model", "network"),
}
TORCH_FREE = ("algebra", "spec", "files", "layers", "model", "data.sources", "config", "compose", "sweep", "cli")
LIGHTNING = ("training", "run", "data.pipeline")
HEAVY = {"torch", "lightning", "torch_geometric", "torchmetrics", "ase", "matplotlib", "safetensors", "optuna"}


def floor_of(module: str) -> str:
    """The floor of a module of the package, named without ``e3frame.``."""
    first, _, rest = module.partition(".")
    if first == "data" and rest:
        return f"data.{rest.partition('.')[0]}"
    return first or "e3frame"


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def imports(file: Path, *, everywhere: bool = False) -> Iterator[tuple[str, int]]:
    """Modules imported when the file is imported; with ``everywhere`` also in functions and for type checkers alone."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if not everywhere:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            assert node.module is not None
            yield from ((module_of(node.module, alias.name), node.lineno) for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def module_of(package: str, name: str) -> str:
    """``package.name`` where that is a module of ours, else ``package``, of which ``name`` is a member."""
    path = PACKAGE.parent.joinpath(*package.split("."), name)
    return f"{package}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else package


def test_files_were_found() -> None:
    assert len(MODULES) > 60
    assert {floor_of(name_of(file)) for file in MODULES} - {"data"} == set(FLOORS)


def test_imports_run_downward() -> None:
    """The graph of folders has no circle: each imports from lower floors alone, also inside functions."""
    height = {floor: number for number, floor in enumerate(FLOORS)}
    wrong, upward = [], set()
    for file in MODULES:
        name = name_of(file)
        for module, line in imports(file, everywhere=True):
            top, _, rest = module.partition(".")
            if top != "e3frame" or height[floor_of(rest)] <= height.get(floor_of(name), 0):
                continue
            upward.add((name, floor_of(rest)))
            if (name, floor_of(rest)) not in UPWARD:
                wrong.append(f"{file.relative_to(PACKAGE)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)
    assert upward == UPWARD, f"no longer needed: {UPWARD - upward}"


def test_what_is_heavy_stays_away_from_the_type_checker() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {name}"
        for file in MODULES
        for name, line in imports(file)
        if (floor_of(name_of(file)) in TORCH_FREE and name.partition(".")[0] in HEAVY)
        or (name.partition(".")[0] == "hydra" and floor_of(name_of(file)) not in ("compose", "cli"))
        or (
            name.partition(".")[0] == "lightning"
            and floor_of(name_of(file)) not in ("training", "run", "data.pipeline")
        )
    ]
    assert not wrong, "\n".join(wrong)


SEAM = {"kernels", "kernels.constants", "kernels.functions", "kernels.values"}
"""What may be imported of the kernels: the operators, and what has nothing to do with a backend."""


def test_backends_are_known_to_kernels_alone() -> None:
    names = "|".join(path.stem for path in (PACKAGE / "kernels").iterdir() if path.is_dir() or path.suffix == ".py")
    wrong = []
    for file in MODULES:
        if floor_of(name_of(file)) == "kernels":
            continue
        for module, line in imports(file, everywhere=True):
            inner = module.removeprefix("e3frame.")
            if floor_of(inner) == "kernels" and inner not in SEAM:
                wrong.append(f"{file.relative_to(PACKAGE)}:{line} imports {module}")
        wrong += [
            f"{file.relative_to(PACKAGE)} reaches for kernels.{match[1]}"
            for match in re.finditer(rf"\bkernels\.({names})\b", file.read_text(encoding="utf-8"))
            if f"kernels.{match[1]}" not in SEAM
        ]
    assert not wrong, "\n".join(wrong)


def test_e3nn_is_for_tests_alone() -> None:
    wrong = [str(file) for file in MODULES for name, _ in imports(file) if name.partition(".")[0] == "e3nn"]
    assert not wrong


def test_files_are_short() -> None:
    long = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in MODULES}
    assert not {file: lines for file, lines in long.items() if lines > 400}


def concrete_classes() -> dict[str, set[str]]:
    """Classes that are one member of a family, or one module of torch, with the files that define them."""
    for file in MODULES:
        if floor_of(name_of(file)) in ("layers", "config", "data.sources", "sweep"):
            import_module(f"e3frame.{name_of(file)}".rstrip("."))
    kinds: list[type] = [member for family in Kinded.__subclasses__() for member in family.members.values()]
    found: dict[str, set[str]] = {}
    for file in MODULES:
        if floor_of(name_of(file)) in ("nn", "o3"):
            module = import_module(f"e3frame.{name_of(file)}".rstrip("."))
            modules = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Module)]
            kinds += [each for each in modules if each.__module__.startswith("e3frame.")]
    for each in kinds:
        found.setdefault(each.__name__, set()).add(each.__module__.removeprefix("e3frame."))
    return found


def test_nothing_asks_for_a_concrete_class() -> None:
    """Layers, optimizers, modules and all other members of families say themselves what others need to know."""
    concrete = concrete_classes()
    assert len(concrete) > 80
    wrong = []
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if not asks or node.func.id not in ("isinstance", "issubclass"):
                continue
            names = {leaf.id for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Name)}
            names |= {leaf.attr for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Attribute)}
            others = [n for n in names & concrete.keys() if name_of(file) not in concrete[n]]
            wrong += [f"{file.relative_to(PACKAGE)}:{node.lineno} asks for {name}" for name in others]
    assert not wrong, "\n".join(wrong)


def test_no_machine_paths() -> None:
    pattern = re.compile(r"/(home|root|tmp|work)/")
    assert not [str(file) for file in MODULES if pattern.search(file.read_text(encoding="utf-8"))]


def test_scripts_import_what_exists() -> None:
    """Also what is imported in their functions."""
    root = PACKAGE.parent / "scripts"
    scripts = [*root.rglob("*.py")]
    assert len(scripts) > 5
    wrong = []
    for file in scripts:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "e3frame":
                wrong += [
                    f"{file.name}:{node.lineno} {node.module}" for a in node.names if not _exists(node.module, a.name)
                ]
    assert not wrong, "\n".join(wrong)


def _exists(module: str, member: str) -> bool:
    """Whether a module has this member, or a package this module."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    if not path.is_dir() and not path.with_suffix(".py").is_file():
        return False
    return hasattr(import_module(module), member) or find_spec(f"{module}.{member}") is not None
