"""The base of all families of models that can be converted: one file for each, found by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from e3frame.convert.archive import Archive


@dataclass(frozen=True)
class Converted:
    """A model in our terms.

    Attributes:
        spec: its spec, as a raw mapping.
        weights: its parameters and buffers by their names in our torch module.
        dtype: type of its numbers in the file.
        about: further lines of the summary, each with a heading.
    """

    spec: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    dtype: str
    about: Mapping[str, str] = field(default_factory=dict)


class Read(Protocol):
    """Parts of a file that know what was read of them."""

    def unread(self) -> list[str]:
        """Return the names of tensors that nothing has read, although they may matter."""
        ...


class Family:
    """Models of one program; a subclass registers itself under its ``kind``.

    A member says which names its files may contain. A file with any other name is refused, and nothing of it is
    imported or called in any case.

    Args:
        head: the head to convert, of a model that has several.

    Raises:
        TypeError: two members have the same kind.
    """

    members: ClassVar[dict[str, type[Family]]] = {}
    kind: ClassVar[str]
    program: ClassVar[str]
    """The program and the version whose files were compared, such as ``mace-torch 0.3.16``."""
    reads: ClassVar[str]
    """What is read, for ``e3frame convert --list``."""
    licence: ClassVar[str]
    """Licence of the program; that of a model is its author's choice."""
    names: ClassVar[tuple[str, ...]]
    """Classes and functions that its files may name; one that ends in a dot stands for all below it."""
    hints: ClassVar[Mapping[str, str]] = {}
    """What to do about a file that names something of other packages, by what their names begin with."""

    def __init_subclass__(cls) -> None:
        if cls.kind in cls.members:
            raise TypeError(
                f"family {cls.kind!r} is defined twice: {cls.members[cls.kind].__module__}, {cls.__module__}"
            )
        cls.members[cls.kind] = cls

    def __init__(self, head: str | None = None) -> None:
        self.head = head

    @classmethod
    def recognizes(cls, archive: Archive) -> bool:
        """Whether a file is of this family, from what its pickle says."""
        raise NotImplementedError(f"{cls.__name__}.recognizes")

    def convert(self, archive: Archive) -> tuple[Converted, Read]:
        """Return the model, and what was read of the file.

        Raises:
            NotUnderstood: a part of the model is not known.
        """
        raise NotImplementedError(f"{type(self).__name__}.convert")

    @classmethod
    def strangers(cls, names: tuple[str, ...]) -> list[str]:
        """Those of the names in a file that the family does not know."""
        known = (*cls.names, *_COMMON)
        return [name for name in names if not any(_stands_for(own, name) for own in known)]


def _stands_for(own: str, name: str) -> bool:
    return name.startswith(own) if own.endswith(".") else name == own


_COMMON = (
    *("torch.nn.", "torch.fx.", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"),
    *("torch.float64", "torch.float32", "torch.Size", "torch.device"),
    *(f"torch.{kind}Storage" for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char")),
    *("torch.ByteStorage", "torch.BoolStorage", "torch.storage.UntypedStorage"),
    *("collections.OrderedDict", "_codecs.encode", "builtins.set", "builtins.slice", "builtins.bytes"),
    *("numpy.ndarray", "numpy.dtype", "numpy.core.multiarray.", "numpy._core.multiarray."),
)
"""What files of torch name in any family. They are not called either."""
