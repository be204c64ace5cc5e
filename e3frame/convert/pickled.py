"""Pickles read as data: a machine for their instructions that builds lists, mappings, numbers and records alone.

A pickle is a program. What makes it dangerous are the instructions that import a name and call it; here they make a
:class:`~e3frame.convert.records.Global` and a :class:`~e3frame.convert.records.Record`, which only keep what was named.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from e3frame.convert.records import SIZES, Global, Record, Storage, Stored, Unreadable

LONGEST = 1 << 28
"""Most bytes of a pickle, without the numbers of tensors. Large models have about 10^7."""
INSTRUCTIONS = 3_000_000
"""Most instructions of a pickle, each of which takes some microseconds. Large models have about 10^5."""
_BITS = 512
"""Most bits of an integer; to print a long one takes much time."""
_NESTED = 4
"""Most tuples within each other in a key of a mapping, as their hash is computed recursively."""


@dataclass(frozen=True)
class Unpickled:
    """What a pickle describes.

    Attributes:
        root: the object.
        names: classes and functions that it names, in order.
    """

    root: Any
    names: tuple[str, ...]


def unpickled(content: bytes, persistent: Callable[[Any], Any]) -> Unpickled:
    """Read a pickle.

    Args:
        content: its bytes.
        persistent: gives the object for an identifier of something that is stored outside the pickle.

    Raises:
        Unreadable: it is damaged or beyond a limit.
    """
    if len(content) > LONGEST:
        raise Unreadable(f"its pickle has {len(content):,} bytes, at most {LONGEST:,} are read")
    machine = _Machine(persistent)
    place = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python about escapes in texts
            for count, (instruction, argument, position) in enumerate(pickletools.genops(content)):
                place = position or 0
                if count >= INSTRUCTIONS:
                    raise Unreadable(f"its pickle has more than {INSTRUCTIONS:,} instructions")
                machine.run(instruction.name, argument)
        (root,) = machine.stack
    except Unreadable:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Unreadable(f"its pickle is damaged near byte {place:,}") from None
    return Unpickled(root, tuple(machine.globals))


class _Machine:
    """The stack, the marks and the memo of a pickle."""

    def __init__(self, persistent: Callable[[Any], Any]) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, Global] = {}

    def run(self, instruction: str, argument: Any) -> None:
        if instruction in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _BITS:
                raise Unreadable(f"its pickle has an integer of {argument.bit_length():,} bits")
            self.stack.append(argument)
        elif instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction]())
        elif instruction in _STEPS:
            _STEPS[instruction](self, argument)
        elif instruction not in _IGNORED:
            raise Unreadable(f"its pickle has an instruction that no file of torch has: {instruction}")

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Unreadable("its pickle names a class that is not a text")
        full = f"{_BUILTINS.get(module, module)}.{name}"
        self.stack.append(self.globals.setdefault(full, Global(full)))

    def taken(self) -> list[Any]:
        """The values since the last mark."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def mark(self, argument: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop(self, argument: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marked.pop()

    def put(self, argument: Any) -> None:
        self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

    def get(self, argument: Any) -> None:
        self.stack.append(self.memo[argument])

    def global_(self, argument: Any) -> None:
        module, _, name = argument.partition(" ")
        self.named(module, name)

    def stack_global(self, argument: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.named(module, name)

    def reduce(self, argument: Any) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        self.stack.append(_called(called, args))

    def new(self, argument: Any) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self.stack.append(_record(cls, args))

    def new_with_names(self, argument: Any) -> None:
        named, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        made = _record(cls, args)
        made.items.append(named)
        self.stack.append(made)

    def build(self, argument: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):  # torch attaches versions to an ordered mapping of tensors
            raise Unreadable("its pickle sets attributes of what has none")

    def persistent_id(self, argument: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def tuple_(self, argument: Any) -> None:
        values = self.taken()
        self.stack.append(tuple(values))

    def list_(self, argument: Any) -> None:
        values = self.taken()
        self.stack.append(values)

    def dict_(self, argument: Any) -> None:
        values = self.taken()
        made: dict[Any, Any] = {}
        _put(made, values)
        self.stack.append(made)

    def set_(self, argument: Any) -> None:
        values = self.taken()
        self.stack.append(Record("builtins.frozenset", items=values))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(values)

    def append(self, argument: Any) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def appends(self, argument: Any) -> None:
        values = self.taken()
        _extend(self.stack[-1], values)

    def set_item(self, argument: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def set_items(self, argument: Any) -> None:
        values = self.taken()
        _put(self.stack[-1], values)

    def duplicate(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def pop_mark(self, argument: Any) -> None:
        self.taken()


_BUILTINS = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_VALUES = frozenset({
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
})  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Record("builtins.set"),
}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new,
    "NEWOBJ_EX": _Machine.new_with_names,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
    "TUPLE": _Machine.tuple_,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Machine.list_,
    "DICT": _Machine.dict_,
    "FROZENSET": _Machine.set_,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.appends),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
}


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, Record):
        target = target.items
    if not isinstance(target, list):
        raise Unreadable("its pickle adds elements to what is not a list")
    target.extend(values)


def _put(target: Any, values: list[Any]) -> None:
    """Add keys and values, in turns."""
    pairs = list(zip(values[::2], values[1::2], strict=True))
    if isinstance(target, Record):
        target.items.extend(pairs)
    elif not isinstance(target, dict):
        raise Unreadable("its pickle sets a key of what is not a mapping")
    elif all(_is_key(key) for key, _ in pairs):
        target.update(pairs)
    else:
        raise Unreadable("its pickle has a mapping with a key that is not plain")


def _is_key(key: Any, depth: int = _NESTED) -> bool:
    if isinstance(key, tuple):
        return depth > 0 and len(key) < 100 and all(_is_key(each, depth - 1) for each in key)
    if isinstance(key, int):
        return abs(key) < 2**63
    return key is None or isinstance(key, str | bytes | float | Global | Record)


def _record(cls: Any, args: Any) -> Record:
    if not isinstance(cls, Global | Record) or not isinstance(args, tuple):
        raise Unreadable("its pickle makes an object of what is not a class")
    return Record(cls.name if isinstance(cls, Global) else "a result", (*([cls] * isinstance(cls, Record)), *args))


def _called(called: Any, args: Any) -> Any:
    """Return the tensor or the plain value that a call would give; of any other call, a record."""
    made = _record(called, args)
    builder = _BUILDERS.get(made.name)
    return made if builder is None else builder(*args)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Stored:
    if not isinstance(storage, Storage) or storage.dtype not in SIZES:
        raise Unreadable("its pickle makes a tensor of what is not a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Unreadable("its pickle makes a tensor whose shape is not a tuple")
    return Stored(storage, offset, shape, strides)


def _parameter(tensor: Any, *more: Any) -> Stored:
    if not isinstance(tensor, Stored):
        raise Unreadable("its pickle makes a parameter of what is not a tensor")
    return tensor


def _encoded(text: Any, coding: Any = "latin1") -> bytes:
    """Bytes, which old pickles hold as a text."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise Unreadable("its pickle holds bytes in an unknown form")
    return text.encode("latin1")


def _ordered(*given: Any) -> dict[Any, Any]:
    if not given:
        return {}
    pairs = [value for pair in given[0] if isinstance(pair, list | tuple) for value in pair]
    made: dict[Any, Any] = {}
    _put(made, pairs)
    return made


_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "_codecs.encode": _encoded,
    "builtins.bytes": lambda *given: b"" if not given else Record("builtins.bytes", given),
    "collections.OrderedDict": _ordered,
}
"""The calls whose results are plain values, and what stands in for them."""
