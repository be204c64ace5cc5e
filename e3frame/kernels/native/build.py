"""Compiles the native kernels: one shared library with a plain C interface, independent of Python and of torch.

The package's build calls it (see ``pyproject.toml``); ``python e3frame/kernels/native/build.py`` does so by hand. It
never fails an installation: without a compiler there is no library, ``status.txt`` says why, and the reference kernels
run.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # at run time, where nothing is built
    BuildHookInterface = object

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "libe3frame.so"
STATUS = FOLDER / "status.txt"
"""A file with one line: what was built and how, or why nothing was built."""

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
ISA_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
}


class BuildError(Exception):
    """The library cannot be built; the message says why in one line."""


def build(library: Path = LIBRARY, extra: Sequence[str] = (), sets: Sequence[str] | None = None) -> str:
    """Compile the kernels for every instruction set of this kind of processor, and link them.

    Args:
        library: the file to write.
        extra: flags for the compiler and the linker, such as ``-fsanitize=address``.
        sets: ``("base",)`` for that one alone, of whatever ``extra`` makes of it; by default all.

    Returns:
        What was built, in one line.

    Raises:
        BuildError: there is no compiler, or it failed.
    """
    compiler = _compiler()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    # Processors of this kind without AVX2 are rare, and not worth the time that unrolled loops take to compile.
    every = {"base": ["-DE3_SMALL"], **ISA_FLAGS} if x86 else {"base": []}
    wanted = every if sets is None else {name: [] for name in sets}
    for openmp in (["-fopenmp"], []):
        options = [*FLAGS, *openmp, *extra, *(["-DE3_X86"] if x86 and wanted == every else [])]
        try:
            _compile(compiler, options, wanted, library)
        except BuildError:
            if not openmp:
                raise
        else:
            return f"{', '.join(wanted)}; {'OpenMP' if openmp else 'one thread'}; {compiler[0]}"
    raise AssertionError("unreachable")


def _compiler() -> list[str]:
    given = os.environ.get("CXX")
    for name in [given] if given else ["c++", "g++", "clang++"]:
        command = shlex.split(name)
        if command and shutil.which(command[0]):
            return command
    raise BuildError(f"no C++ compiler: {given or 'c++, g++, clang++'} not found")


def _compile(compiler: list[str], options: list[str], sets: dict[str, list[str]], library: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The linker keeps the first of equal inline functions: the lowest set's, which every processor runs.
        sources = {"api": [str(FOLDER / "api.cpp")]}
        sources |= {name: [*flags, f"-DE3_ISA={name}", str(FOLDER / "isa.cpp")] for name, flags in sets.items()}
        objects = {name: f"{folder}/{name}.o" for name in sources}
        _run([[*compiler, *options, *source, "-c", "-o", objects[name]] for name, source in sources.items()])
        part = Path(folder) / library.name
        _run([[*compiler, *options, "-shared", "-o", str(part), *objects.values()]])
        seal(part)
        # A process that has the old library open keeps it.
        library.unlink(missing_ok=True)
        shutil.move(part, library)


_ELF, _SEAL = b"\x7fELF\x02\x01", b"sealed by e3frame\0"


def seal(library: Path) -> None:
    """Append a digest to a library, where loaders do not look; `is_ours` reads it."""
    data = library.read_bytes()
    if data.startswith(_ELF):
        library.write_bytes(data + _SEAL + sha256(data).digest())


def is_ours(library: Path) -> bool:
    """Whether a file is a complete library of ours: loading an incomplete one would end the process.

    It is as it was sealed; or, where others wrote it anew, as long as its header says. Formats other than ELF, of 64
    bits with the lowest byte first, are left to the system.
    """
    data = library.read_bytes() if library.is_file() else b""
    if b"e3_interface\0" not in data:
        return False
    end = len(data) - len(_SEAL) - sha256().digest_size
    if data.startswith(_SEAL, end):
        return sha256(data[:end]).digest() == data[end + len(_SEAL) :]
    return _as_long_as_it_says(data) if data.startswith(_ELF) else sys.platform != "linux"


def _as_long_as_it_says(data: bytes) -> bool:
    """Whether all segments and sections of a library lie within it."""
    try:
        segments, sections, _, _, step, count, section_step, num_sections = struct.unpack_from("<QQIHHHHH", data, 32)
        ends = [sections + section_step * num_sections]
        for n in range(count):
            offset, _, _, size = struct.unpack_from("<QQQQ", data, segments + n * step + 8)
            ends.append(offset + size)
    except struct.error:
        return False
    return max(ends) <= len(data)


def _run(commands: list[list[str]]) -> None:
    """Run commands in parallel; raise a BuildError if one fails."""
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for c in commands]
    outputs = [process.communicate()[0] for process in running]
    for command, process, output in zip(commands, running, outputs, strict=True):
        if process.returncode != 0:
            lines = [line for line in output.splitlines() if "error" in line] or output.splitlines() or ["no message"]
            raise BuildError(f"{command[0]} failed: {lines[0].strip()}")


def build_or_explain() -> bool:
    """Build the library if possible, write the status file, and return whether there is a library."""
    try:
        status, built = f"built for {build()}", True
    except (BuildError, OSError) as error:
        LIBRARY.unlink(missing_ok=True)
        status, built = f"not built: {error}", False
    STATUS.write_text(status + "\n", encoding="utf-8")
    return built


class Hook(BuildHookInterface):  # type: ignore[misc]  # hatchling ships no types
    """Adds the library to the wheel, and tags the wheel with this platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        built = build_or_explain()
        self.app.display_info(f"native kernels: {STATUS.read_text(encoding='utf-8').strip()}")
        build_data["artifacts"] += [f"e3frame/kernels/native/{file.name}" for file in (LIBRARY, STATUS)]
        if built:
            from packaging.tags import sys_tags

            tag = next(tag for tag in sys_tags() if "manylinux" not in tag.platform and "musllinux" not in tag.platform)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{tag.platform}"


if __name__ == "__main__":
    sys.exit(not build_or_explain() or print(STATUS.read_text(encoding="utf-8").strip()))
