"""Compile the C++ sources with the system's compiler, once per machine, into a cache folder of the user.

The result is a shared library with a plain C interface: no torch, Python or C++ runtime is linked, so it takes
seconds to build and serves every torch version. One library is built per instruction set; the one for this processor
is loaded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

SOURCES = Path(__file__).parent / "csrc"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
]
INSTRUCTION_SETS: dict[str, list[str]] = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
}
TIMEOUT = 180.0
"""Seconds after which a compiler that does not answer is given up."""


class BuildError(RuntimeError):
    """The library cannot be compiled here; the message says why."""


def best_instruction_set() -> str:
    """Return the richest instruction set of `INSTRUCTION_SETS` that this processor has."""
    found = {"AVX2": "avx2", "AVX512": "avx512"}.get(torch.backends.cpu.get_cpu_capability(), "baseline")
    return found if platform.machine().lower() in ("x86_64", "amd64") else "baseline"


def find_compiler() -> str:
    """Return the path of a C++ compiler.

    Raises:
        BuildError: If there is none, or the system is not one that the sources are written for.
    """
    if sys.platform not in ("linux", "darwin"):
        raise BuildError(f"no C++ build on {sys.platform}")
    for name in ("g++", "clang++", "c++"):
        path = shutil.which(name)
        if path:
            return path
    raise BuildError("no C++ compiler on the PATH (looked for g++, clang++, c++)")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell; the compiler found on the PATH
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} did not run: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}: {first}")
    return done.stdout


def cache_folder() -> Path:
    """Return the folder that compiled libraries are kept in (`XDG_CACHE_HOME` or `~/.cache`)."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~").expanduser() / ".cache") / "medzoo" / "elastic_deform"


def compile_library(target: Path, instruction_set: str, extra: list[str] | None = None) -> None:
    """Compile the sources into `target`; it appears whole or not at all, also when several processes do this at once.

    Args:
        target: File to write; its folder is made.
        instruction_set: One of `INSTRUCTION_SETS`.
        extra: Further compiler flags (the tests add sanitizers).

    Raises:
        BuildError: If there is no compiler, it fails, or the folder cannot be written.
    """
    compiler = find_compiler()
    linker = ["-Wl,--as-needed"] if sys.platform == "linux" else []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".build-", suffix=".so", dir=target.parent)
        os.close(handle)
        try:
            flags = [*FLAGS, *INSTRUCTION_SETS[instruction_set], *(extra or [])]
            _run([compiler, *flags, str(SOURCES / "elastic_deform.cpp"), "-o", temporary, *linker])
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f"cannot write to {target.parent}: {error}") from error


def library_path(instruction_set: str) -> Path:
    """Return the compiled library for an instruction set, building it where the cache does not hold it.

    Raises:
        BuildError: As `compile_library`.
    """
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + source.read_bytes())
    digest.update(repr((FLAGS, INSTRUCTION_SETS[instruction_set], platform.machine(), sys.platform)).encode())
    digest.update(_run([find_compiler(), "--version"]).encode())
    path = cache_folder() / f"{instruction_set}-{digest.hexdigest()[:20]}.so"
    if not path.is_file():
        compile_library(path, instruction_set)
    return path
