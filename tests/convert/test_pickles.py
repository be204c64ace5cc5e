"""A pickle is read as data: what it describes comes out, and nothing of it is imported or called."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from e3frame.convert import pickled
from e3frame.convert.pickled import unpickled
from e3frame.convert.records import Global, Record, Unreadable, elements

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def nothing(identifier: Any) -> Any:
    raise Unreadable("this pickle refers to nothing outside")


def read(content: bytes) -> Any:
    return unpickled(content, nothing).root


SHARED = [1, 2]
VALUES: dict[str, Any] = {
    "numbers": [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**62, -(2**62), 2**100, 0.5, -1e300, True, False],
    "texts": ["", "a", "a\nb\t\\", "Å⊗", "x" * 300, "x" * 70_000],
    "bytes": [b"", b"\x00\xff", bytes(range(256)) * 2],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((None,),)),
    "mappings": {"a": 1, 2: [3], None: {}, (1, "b"): {"c": ()}, 0.5: None, b"x": 1},
    "shared": [SHARED, SHARED, {"again": SHARED}],
    "one of each": {f"key {n}": [n] * (n % 3) for n in range(1200)},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name: str, protocol: int) -> None:
    assert read(pickle.dumps(VALUES[name], protocol)) == VALUES[name]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_references_are_kept(protocol: int) -> None:
    """Also circles."""
    found = read(pickle.dumps(VALUES["shared"], protocol))
    assert found[0] is found[1] is found[2]["again"]
    circle: list[Any] = [1]
    circle.append(circle)
    again = read(pickle.dumps(circle, protocol))
    assert again[1] is again


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sets_and_ordered_mappings(protocol: int) -> None:
    found = read(pickle.dumps([{3, 1}, frozenset({2}), OrderedDict(a=1, b=[2])], protocol))
    assert sorted(elements(found[0])) == [1, 3]
    assert list(elements(found[1])) == [2]
    assert found[2] == {"a": 1, "b": [2]}


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size
        self.more = {"a": (1, 2)}


class Numbers(list[int]):
    pass


class Slotted:
    __slots__ = ("value",)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_records(protocol: int) -> None:
    numbers, slotted = Numbers([1, 2]), Slotted()
    slotted.value = 3
    found = read(pickle.dumps([Thing(4), numbers, slotted, Thing, len], protocol))
    thing, listed, bare, cls, function = found
    assert isinstance(thing, Record)
    assert thing.name == f"{__name__}.Thing"
    assert thing.attributes == {"size": 4, "more": {"a": (1, 2)}}
    assert list(elements(listed)) == [1, 2]
    assert bare.state == (None, {"value": 3})
    assert cls == Global(f"{__name__}.Thing")
    assert function == Global("builtins.len")


def test_what_a_pickle_names_is_told() -> None:
    assert unpickled(pickle.dumps([Thing(1), Thing(2), len]), nothing).names == (f"{__name__}.Thing", "builtins.len")


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self.made = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that make a file when they are loaded."""
    touch, text = f"touch '{canary}'", f"open({str(canary)!r}, 'w').close()"
    return {
        "system": pickle.dumps(Calls(os.system, touch)),
        "old": pickle.dumps(Calls(os.system, touch), 0),
        "eval": pickle.dumps(Calls(eval, text)),
        "exec": pickle.dumps(Calls(exec, text)),
        "open": pickle.dumps(Calls(open, str(canary), "w")),
        "in a list": pickle.dumps([1, {"a": Calls(os.system, touch)}]),
        "in a state": pickle.dumps(Calls(Thing, 1, state={"x": Calls(os.system, touch)})),
        "in arguments": pickle.dumps(Calls(len, Calls(eval, text))),
        "import": b"c__builtin__\n__import__\n(S'antigravity'\ntR.",
        "getattr": b"cbuiltins\ngetattr\n(cos\n\nS'system'\ntR(S'" + touch.replace("'", "").encode() + b"'\ntR.",
        "inst": b"(S'" + touch.replace("'", "").encode() + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + touch.replace("'", "").encode() + b"'\no.",
        "new": b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00a\x85\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "dotted": b"\x80\x04\x8c\x02os\x8c\x0bsystem.func\x93\x8c\x01a\x85R.",
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "buffer": b"\x80\x05\x97.",
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_nothing_is_imported_or_called(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    before = set(sys.modules)
    refused = name in ("inst", "obj", "extension", "persistent", "buffer")
    with pytest.raises(Unreadable) if refused else nullcontext():
        read(attacks(canary)[name])
    assert not canary.exists()
    assert set(sys.modules) == before


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """They do what they must not do, if Python reads them."""
    for name in ("system", "old", "eval", "open", "in a list", "in a state", "inst", "obj"):
        canary = tmp_path / name.replace(" ", "-")
        with suppress(Exception):  # of what comes after the call
            pickle.loads(attacks(canary)[name])
        assert canary.exists(), name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its pickle is damaged near byte 0"),
        (b".", "its pickle is damaged near byte 0"),
        (b"NN.", "its pickle is damaged near byte 2"),
        (b"K\x01K", "its pickle is damaged near byte 0"),
        (b"h\x05.", "its pickle is damaged near byte 0"),
        (b"\xff", "its pickle is damaged near byte 0"),
        (b"t.", "its pickle is damaged near byte 0"),
        (b"]K\x01Ns.", "its pickle sets a key of what is not a mapping"),
        (b"}K\x01a.", "its pickle adds elements to what is not a list"),
        (b"}]K\x01s.", "its pickle has a mapping with a key that is not plain"),
        (b"K\x01}b.", "its pickle sets attributes of what has none"),
        (b"K\x01)R.", "its pickle makes an object of what is not a class"),
        (b"\x80\x04K\x01K\x02\x93.", "its pickle names a class that is not a text"),
        (b"\x82\x01.", "its pickle has an instruction that no file of torch has: EXT1"),
        (b"\x8a\x64" + b"\x7f" * 100 + b".", "its pickle has an integer of 799 bits"),
        (b"c_codecs\nencode\n(K\x01tR.", "its pickle holds bytes in an unknown form"),
        (b"ctorch._utils\n_rebuild_parameter\n(K\x01tR.", "its pickle makes a parameter of what is not a tensor"),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01K\x01K\x01tR.",
            "its pickle makes a tensor of what is not a storage",
        ),
    ],
)  # fmt: skip
def test_damage_is_one_message(content: bytes, message: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(content)
    assert str(caught.value) == message


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(list(range(100)))
    monkeypatch.setattr(pickled, "INSTRUCTIONS", 50)
    with pytest.raises(Unreadable, match="more than 50 instructions"):
        read(content)
    monkeypatch.setattr(pickled, "LONGEST", 100)
    with pytest.raises(Unreadable, match=f"its pickle has {len(content)} bytes, at most 100 are read"):
        read(content)


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_depth_costs_no_stack(depth: int) -> None:
    """Neither to read nor to throw away; a deep key is refused, as Python would compute its hash recursively."""
    assert isinstance(read(b"]" * depth + b"a" * (depth - 1) + b"."), list)
    assert isinstance(read(b"N" + b"\x85" * depth + b"."), tuple)
    assert isinstance(read(b"cos\nx\n" * 2 + b"N" + b"\x85" * depth + b"R\x85R."), Record)
    with pytest.raises(Unreadable, match="a key that is not plain"):
        read(b"}N" + b"\x85" * depth + b"Ns.")


def test_references_take_no_memory() -> None:
    """A list of lists of lists ... of the same list, which would have 2^1000 elements if it were written out."""
    content = b"](K\x01K\x01e" + b"".join(b"p%d\n0](g%d\ng%d\ne" % (n, n, n) for n in range(1000)) + b"."
    found = read(content)
    for _ in range(1000):
        assert found[0] is found[1]
        found = found[0]


def test_a_far_memo_takes_no_memory() -> None:
    assert read(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.") is None


@pytest.mark.parametrize("seed", range(3))
def test_every_mutation_is_a_value_or_a_message(seed: int) -> None:
    rng = Random(seed)
    whole = [pickle.dumps([VALUES["mappings"], Thing(3), SHARED, {1}, b"x"], protocol) for protocol in PROTOCOLS]
    codes = [op.code.encode("latin1") for op in pickletools.opcodes]
    for _ in range(1500):
        content = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 1, 2, 10])):
            at = rng.randrange(len(content))
            kind = rng.randrange(4)
            if kind == 0:
                content[at] = rng.randrange(256)
            elif kind == 1:
                content[at : at + 1] = rng.choice(codes)
            elif kind == 2:
                content[at:at] = rng.choice(codes)
            else:
                del content[at : at + rng.choice([1, 3])]
        with suppress(Unreadable):
            read(bytes(content))
