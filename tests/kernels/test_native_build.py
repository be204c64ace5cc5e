"""Building, choosing and doing without the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.native import AVAILABLE, needs_native

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
        "assert not kernels.runs_natively(x)\n"
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
    with pytest.raises(ValueError, match="E3FRAME_ISA must be one of base, avx2, avx512; got 'avx1024'"):
        choose()
