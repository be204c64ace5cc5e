"""Building, choosing and doing without the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.native import AVAILABLE, needs_native

from e3frame.algebra.errors import UserError
from e3frame.kernels.native import build, library


def test_without_a_compiler(tmp_path: Path) -> None:
    """The status says why, and the reference runs."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from e3frame.kernels.native import build, library\n"
        f"build.LIBRARY = library.LIBRARY = Path({str(tmp_path / 'none.so')!r})\n"
        f"build.STATUS = library.STATUS = Path({str(tmp_path / 'status.txt')!r})\n"
        "assert not build.build_or_explain()\n"
        "import torch\n"
        "from e3frame import kernels, nn, o3\n"
        "assert library.load() is None and library.status() == build.STATUS.read_text().strip()\n"
        "print(library.status())\n"
        "x = torch.randn(4, 3, requires_grad=True)\n"
        "assert kernels.backend() == f'reference, {library.status()}'\n"
        "y = o3.SphericalHarmonics([0, 1], True)(x)\n"
        "conv = nn.Convolution('2x0e', '0e+1o', '2x0e+1o', 4, [8], 3, 2.0)\n"
        "edges, species = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.tensor([0, 1, 2, 0])\n"
        "radial = nn.RadialBasis(nn.BesselBasis(3.0, 4), nn.PolynomialEnvelope(3.0))(x)\n"
        "conv(torch.randn(4, 2), species, edges, y, radial).sum().backward()\n"
        "assert x.grad.any()\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "CXX": "/nonexistent", "PYTHONPATH": str(Path(build.__file__).parents[3])}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "not built: no C++ compiler: /nonexistent not found\n"


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'isa.cpp:1: error: no such thing'\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "library.so")
    monkeypatch.setattr(build, "STATUS", tmp_path / "status.txt")
    assert not build.build_or_explain()
    assert build.STATUS.read_text() == f"not built: {compiler} failed: isa.cpp:1: error: no such thing\n"


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another library file, loaded afresh."""
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "library.so")
    monkeypatch.setattr(library, "STATUS", tmp_path / "status.txt")
    monkeypatch.setattr(library, "load", library.load.__wrapped__)


@pytest.mark.usefixtures("_fresh")
@pytest.mark.filterwarnings("ignore:library.so cannot be loaded")
def test_status() -> None:
    assert library.status() == "not built"
    library.STATUS.write_text("not built: because\n")
    assert library.status() == "not built: because"
    library.LIBRARY.write_text("not a library")
    assert library.load() is None
    assert library.status() == "library.so cannot be loaded, install the package again"


@needs_native
def test_the_instruction_set_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = library.instruction_set.__wrapped__
    monkeypatch.delenv("E3FRAME_ISA", raising=False)
    assert choose() == AVAILABLE[-1]
    for number, name in enumerate(library.INSTRUCTION_SETS):
        monkeypatch.setenv("E3FRAME_ISA", name)
        assert choose() == min(number, AVAILABLE[-1])
    monkeypatch.setenv("E3FRAME_ISA", "avx1024")
    with pytest.raises(UserError, match="E3FRAME_ISA must be one of base, avx2, avx512; got 'avx1024'"):
        choose()


FOREIGN = Path(torch.__file__).parent / "lib" / "libshm.so"


def _changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


DAMAGED = {
    "empty": lambda data: b"",
    "text": lambda data: b"not a library",
    "header": lambda data: data[:64],
    "page": lambda data: data[:4096],
    "half": lambda data: data[: len(data) // 2],
    "nine tenths": lambda data: data[: len(data) * 9 // 10],
    "last page": lambda data: data[:-4096],
    "zeros": lambda data: bytes(len(data)),
    "zeros in the middle": lambda data: data[:100_000] + bytes(100_000) + data[200_000:],
    "a byte of the header": lambda data: _changed(data, 40),
    "a byte of the code": lambda data: _changed(data, len(data) // 2),
    "another library": lambda data: FOREIGN.read_bytes(),
    "no section of its own": lambda data: data[:64] + b"e3_interface\0" + FOREIGN.read_bytes()[77:],
}

LOAD = """
import sys, warnings
from pathlib import Path
from e3frame.kernels.native import library
library.LIBRARY = Path(sys.argv[1])
import torch
from e3frame import kernels, o3
y = o3.SphericalHarmonics([1], True, "norm")(torch.tensor([[0.0, 2.0, 0.0]]))
print(y.tolist(), kernels.backend())
"""


def _load(path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(build.__file__).parents[3])}
    command = [sys.executable, "-c", LOAD, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@needs_native
@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_library_is_not_loaded(kind: str) -> None:
    sealed = library.LIBRARY.with_name("sealed.so")
    sealed.write_bytes(build.LIBRARY.read_bytes().partition(build._SEAL)[0])
    build.seal(sealed)
    library.LIBRARY.write_bytes(DAMAGED[kind](sealed.read_bytes()))
    with pytest.warns(UserWarning, match=r"^library\.so cannot be loaded, install the package again; until then"):
        assert library.load() is None
    assert not build.is_ours(library.LIBRARY) or kind == "no section of its own"


@needs_native
@pytest.mark.usefixtures("_fresh")
def test_a_library_that_others_wrote_anew_is_loaded() -> None:
    """As packagers do, who strip what they need not: only what is shorter than it says is refused."""
    bare = build.LIBRARY.read_bytes().partition(build._SEAL)[0]
    library.LIBRARY.write_bytes(bare)
    assert library.load() is not None
    for length in (65, 4096, len(bare) // 2, len(bare) - 1):
        library.LIBRARY.write_bytes(bare[:length])
        assert not build.is_ours(library.LIBRARY)


@needs_native
@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_not_read(kind: str) -> None:
    os.mkfifo(library.LIBRARY) if kind == "fifo" else library.LIBRARY.mkdir()
    with pytest.warns(UserWarning, match=r"^library\.so cannot be loaded"):
        assert library.load() is None


def test_a_process_goes_on_without_its_library(tmp_path: Path) -> None:
    """With one warning, and the right numbers."""
    path = tmp_path / "library.so"
    path.write_bytes(build.LIBRARY.read_bytes()[:100_000] if build.LIBRARY.exists() else b"none")
    done = _load(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[0.0, 1.0, 0.0]] reference, library.so cannot be loaded, install the package again\n"
    assert done.stderr.count("library.so cannot be loaded, install the package again; until then the kernels in") == 1
