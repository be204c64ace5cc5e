"""The conversion of a file: read, mapped to our layers, checked, and written as one model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from e3frame.convert.archive import Archive, not_readable, opened_archive
from e3frame.convert.family import Converted, Family, Read
from e3frame.convert.records import Global, Record, Unreadable
from e3frame.files.regular import require_new, with_home
from e3frame.inference.device import read_dtype
from e3frame.inference.saved import save_model
from e3frame.model import ModelSpec, TypedModel
from e3frame.network import Model
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.validate import SpecErrors, validate
from e3frame.spec.words import counted, printable

_LISTED = 3
"""Most names in a message."""
_CONTRADICTIONS = (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError, ArithmeticError)
"""What is raised where a file says different things about the size of something."""


@dataclass(frozen=True)
class Conversion:
    """A model that was converted.

    Attributes:
        family: what it is.
        converted: its spec and weights.
        typed: the well-typed spec.
        names: classes and functions that its file names, none of which was imported.
    """

    family: Family
    converted: Converted
    typed: TypedModel
    names: tuple[str, ...]

    def summary(self) -> Iterator[tuple[str, str]]:
        """Headings and what is to be said about the model."""
        spec = self.typed.spec
        yield "family", self.family.program
        yield "weights", f"{self.typed.num_parameters:,}, {self.converted.dtype}"
        yield "r_max", f"{spec.r_max:g} Å"
        yield "species", " ".join(spec.species)
        yield "layers", counted(len(spec.layers) + len(spec.outputs), "layer")
        yield from self.converted.about.items()
        packages = sorted({name.partition(".")[0] for name in self.names})
        yield "not imported", f"{counted(len(self.names), 'name')} in the file, of {', '.join(packages)}"
        yield "licence", "the file states none: ask its authors, and cite them"


def convert(
    file: str | Path,
    out: str | Path,
    *,
    head: str | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a model file of another program and write it as a model of e3frame.

    Args:
        file: the file, as the other program saved it.
        out: the file to write.
        head: the head to convert, of a model that has several.
        dtype: type of the weights in the new file, such as float64; None: that in the old one.
        overwrite: replace ``out`` if it exists.

    Raises:
        UserError: the file is of no known family, has a part that is not understood, is damaged, or names what no model
            of its family does; or ``out`` cannot be written. Nothing is written then.
    """
    path, target = with_home(file), with_home(out)
    require_new(target, overwrite)
    wanted = None if dtype is None else str(read_dtype(dtype)).removeprefix("torch.")
    with opened_archive(path) as archive:
        family = _family(archive, head)
        try:
            converted, read = family.convert(archive)
        except Unreadable as error:
            raise not_readable(path, str(error), error.hint) from None
        except _CONTRADICTIONS as error:
            said = printable(str(error).partition("\n")[0], 200)
            raise not_readable(path, f"its parts do not fit together: {said}") from None
        _require_all_read(path, read)
    if wanted is not None:
        converted = replace(converted, dtype=wanted)
    typed = _typed(path, converted)
    model = _filled(path, typed, converted)
    try:
        save_model(model, target, origin=family.program)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    return Conversion(family, converted, typed, archive.found.names)


def _family(archive: Archive, head: str | None) -> Family:
    """Return the family of a file."""
    known = [family for family in Family.members.values() if family.recognizes(archive)]
    if not known:
        root = archive.found.root
        what = f"a {root.name}" if isinstance(root, Record | Global) else f"a {type(root).__name__} of values"
        problem = f"it holds {printable(what, 100)}, which is no model of a known family"
        raise not_readable(archive.path, problem, "e3frame convert --list shows what is read")
    strangers = known[0].strangers(archive.found.names)
    if strangers:
        more = f" and {len(strangers) - _LISTED} more" if len(strangers) > _LISTED else ""
        listed = f"{', '.join(printable(name, 60) for name in strangers[:_LISTED])}{more}"
        problem = f"it names {listed}, which no model of {known[0].program} does; nothing of it was run"
        hints = (hint for start, hint in known[0].hints.items() if strangers[0].startswith(start))
        raise not_readable(archive.path, problem, next(hints, None))
    return known[0](head=head)


def _require_all_read(path: Path, read: Read) -> None:
    unread = read.unread()
    if unread:
        more = f" and {counted(len(unread) - 1, 'more tensor')} are" if len(unread) > 1 else " is"
        raise not_readable(path, f"{printable(unread[0], 100)}{more} not understood")


def _typed(path: Path, converted: Converted) -> TypedModel:
    """Type-check the spec, and require as many weights as it describes, before anything is built."""
    try:
        typed = validate(ModelSpec, dict(converted.spec)).typed()
    except SpecErrors as errors:
        raise not_readable(path, f"its layers are not those of e3frame: {errors.errors[0]}") from None
    except SpecError as error:
        raise not_readable(path, f"its layers are not those of e3frame: {error}") from None
    held = sum(tensor.numel() for tensor in converted.weights.values())
    if typed.num_parameters > held:
        raise not_readable(path, f"its layers need {typed.num_parameters:,} weights, it holds {held:,}")
    return typed


def _filled(path: Path, typed: TypedModel, converted: Converted) -> Model:
    """Build the model with its weights, all of which must be there, of the right shape and finite."""
    with torch.random.fork_rng(devices=[]):
        model = Model(typed.spec).to(getattr(torch, converted.dtype))
    expected = model.state_dict()
    problems = [*_differences(model, converted.weights)]
    if problems:
        raise not_readable(path, problems[0])
    model.load_state_dict({name: converted.weights.get(name, own) for name, own in expected.items()})
    return model.eval().requires_grad_(False)


def _differences(model: Model, weights: Mapping[str, Tensor]) -> Iterator[str]:
    """What is wrong with the weights. Buffers, such as scale and shift, come from the spec."""
    expected = model.state_dict()
    yield from (f"it has no weights for {name}" for name, _ in model.named_parameters() if name not in weights)
    yield from (f"our model has no {name}" for name in weights if name not in expected)
    for name, tensor in weights.items():
        if name in expected and tensor.shape != expected[name].shape:
            yield f"{name}: its shape must be {list(expected[name].shape)}, got {list(tensor.shape)}"
        if not torch.isfinite(tensor).all():
            yield f"{name}: some of its numbers are not finite"
