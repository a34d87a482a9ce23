"""Compile the C++ sources with the system's compiler, once per machine, into a cache folder of the user.

The result is a shared library with a plain C interface: no torch, Python or C++ runtime is linked, so it takes
seconds to build and serves every torch version. One library is built per instruction set; the one for this processor
is loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def find_compilers() -> list[str]:
    """Return the paths of the C++ compilers on this machine, in the order in which they are tried.

    Raises:
        BuildError: If there is none, or the system is not one that the sources are written for.
    """
    if sys.platform not in ("linux", "darwin"):
        raise BuildError(f"no C++ build on {sys.platform}")
    found = [path for name in ("g++", "clang++", "c++") if (path := shutil.which(name))]
    if not found:
        raise BuildError("no C++ compiler on the PATH (looked for g++, clang++, c++); install one for the fast path")
    return found


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
    """Return the folder that compiled libraries are kept in (`XDG_CACHE_HOME` or `~/.cache`).

    Raises:
        BuildError: The user has no home.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path("~").expanduser() / ".cache") / "medzoo" / "elastic_deform"
    except RuntimeError as error:  # no HOME, and a user that the system does not know
        raise BuildError(f"no folder to compile into ({error}); set XDG_CACHE_HOME") from error


def compile_library(target: Path, instruction_set: str, extra: list[str] | None = None) -> None:
    """Compile the sources into `target`; it appears whole or not at all, also when several processes do this at once.

    Args:
        target: File to write; its folder is made.
        instruction_set: One of `INSTRUCTION_SETS`.
        extra: Further compiler flags (the tests add sanitizers).

    Raises:
        BuildError: If there is no compiler, all of them fail, or the folder cannot be written.
    """
    with _compiled(target.parent, instruction_set, extra or []) as temporary:
        os.replace(temporary, target)


@contextmanager
def _compiled(folder: Path, instruction_set: str, extra: list[str]) -> Iterator[Path]:
    """Give a temporary file in `folder` with the library in it, on disk; what happens to it is the caller's."""
    compilers = find_compilers()
    linker = ["-Wl,--as-needed"] if sys.platform == "linux" else []
    flags = [*FLAGS, *INSTRUCTION_SETS[instruction_set], *extra]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".build-", suffix=".so", dir=folder)
        try:
            for number, compiler in enumerate(compilers, 1):
                try:
                    _run([compiler, *flags, str(SOURCES / "elastic_deform.cpp"), "-o", temporary, *linker])
                    break
                except BuildError:
                    if number == len(compilers):
                        raise
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            yield Path(temporary)
        finally:
            os.close(handle)
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f"cannot write to {folder}: {error}") from error


def library_path(instruction_set: str) -> Path:
    """Return the compiled library for an instruction set, building it where the cache does not hold it.

    A library is found by its sources, flags and instruction set, so that a machine without a compiler can use what was
    built before. Its name holds the hash of its content: one that is cut or changed is built anew.

    Raises:
        BuildError: As `compile_library`; or the cache belongs to another user, whose code would run here.
    """
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + source.read_bytes())
    digest.update(repr((FLAGS, INSTRUCTION_SETS[instruction_set], platform.machine(), sys.platform)).encode())
    name = f"{instruction_set}-{digest.hexdigest()[:20]}"
    folder = cache_folder()
    _check_owner(folder)
    for path in sorted(folder.glob(f"{name}-*.so")):
        if _trusted(path) and path.stem.rpartition("-")[2] == _content(path):
            return path
    _make_private(folder)
    with _compiled(folder, instruction_set, []) as temporary:
        path = folder / f"{name}-{_content(temporary)}.so"
        temporary.chmod(0o700)
        os.replace(temporary, path)
    logging.getLogger(__name__).warning("elastic_deform: compiled for %s into %s, once", instruction_set, path)
    return path


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _trusted(path: Path) -> bool:
    """Tell whether a file or folder is this user's (or root's) and nobody else can write to it."""
    state = path.lstat()
    return not stat.S_ISLNK(state.st_mode) and state.st_uid in (os.getuid(), 0) and not state.st_mode & 0o022


def _check_owner(folder: Path) -> None:
    """Refuse a cache that somebody else owns.

    Raises:
        BuildError: It is another user's, or a link.
    """
    try:
        state = folder.lstat()
    except OSError:  # not there yet, or no way to it: making it tells
        return
    if stat.S_ISLNK(state.st_mode) or state.st_uid not in (os.getuid(), 0):
        raise BuildError(f"{folder} belongs to another user or is a link; remove it, or set XDG_CACHE_HOME")
    if state.st_mode & 0o022 and state.st_uid == os.getuid():
        folder.chmod(0o700)  # others could write here: what lies in it may be theirs
        for path in folder.glob("*.so"):
            path.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BuildError(f"cannot write to {folder}: {error}") from error
