"""The C++ under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.native import AVAILABLE, needs_native

from e3frame.compose import config_folder
from e3frame.kernels.native.build import ISA_FLAGS, BuildError, _compiler, build

pytestmark = needs_native

SANITIZE = (
    *("-fsanitize=address,undefined", "-fno-sanitize=null"),  # null pointers stop a process without it, too
    *("-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1", "-g1"),
)
WIDE = ISA_FLAGS["avx2"] if len(AVAILABLE) > 1 else ()
"""Vectors of 32 bytes, not of 16, where the processor has them: their rows are transposed in more steps."""


def runtime() -> str:
    """The sanitizer's library, which must be loaded before Python; skips where the compiler has none."""
    name = "libasan.so" if "clang" not in _compiler()[0] else "libclang_rt.asan-x86_64.so"
    command = [*_compiler(), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"{command[0]} has no sanitizers")
    return path


def run(library: Path) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime(),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": f"{config_folder().parent}{os.pathsep}{tests}",
    }
    command = [sys.executable, "-m", "support.awkward", str(library)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_no_kernel_leaves_its_memory(tmp_path: Path) -> None:
    runtime()
    library = tmp_path / "sanitized.so"
    try:
        build(library, [*SANITIZE, *WIDE], sets=("base",))
    except BuildError as error:
        if "sanitize" in str(error) or "asan" in str(error):
            pytest.skip(str(error))
        raise
    done = run(library)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == f"{library}\nall kernels ran\n"
