from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.ops.elastic_deform import (
    RandomElasticDeform,
    backend_info,
    build,
    cpu,
    displacement_field,
    elastic_deform,
    jacobian_determinant,
    random_control,
    transform_points,
    warp,
)

FUZZ = Path(__file__).parent / "elastic_deform_fuzz.py"
IMAGE, CONTROL = torch.zeros(2, 1, 9, 9), torch.zeros(2, 2, 4, 4)

BAD: list[tuple[str, type[Exception], str, Callable[[], object]]] = [
    ("rank", ValueError, "input", lambda: elastic_deform(torch.zeros(9, 9), CONTROL)),
    ("list", ValueError, "input", lambda: elastic_deform([], CONTROL)),
    ("type", TypeError, "input", lambda: elastic_deform([[1.0]], CONTROL)),  # type: ignore[list-item]
    ("complex", TypeError, "input", lambda: elastic_deform(IMAGE.to(torch.complex64), CONTROL)),
    ("empty batch", ValueError, "input", lambda: elastic_deform(IMAGE[:0], CONTROL)),
    ("empty image", ValueError, "input", lambda: elastic_deform(IMAGE[..., :0], CONTROL)),
    ("sizes", ValueError, "input", lambda: elastic_deform([IMAGE, IMAGE[..., :8]], CONTROL)),
    ("control rank", ValueError, "control", lambda: elastic_deform(IMAGE, CONTROL[0])),
    ("control axes", ValueError, "control", lambda: elastic_deform(IMAGE, torch.zeros(2, 3, 4, 4))),
    ("control batch", ValueError, "control", lambda: elastic_deform(IMAGE, torch.zeros(3, 2, 4, 4))),
    ("control size", ValueError, "control.*at least 4", lambda: elastic_deform(IMAGE, torch.zeros(2, 2, 3, 4))),
    ("control dtype", TypeError, "control", lambda: elastic_deform(IMAGE, CONTROL.long())),
    ("control type", TypeError, "control", lambda: elastic_deform(IMAGE, CONTROL.numpy())),  # type: ignore[arg-type]
    ("control nan", ValueError, "control.*finite", lambda: elastic_deform(IMAGE, CONTROL * torch.nan)),
    ("control inf", ValueError, "control.*finite", lambda: elastic_deform(IMAGE, CONTROL + torch.inf)),
    ("affine", ValueError, "affine", lambda: elastic_deform(IMAGE, affine=torch.eye(3)[None])),
    ("affine batch", ValueError, "affine", lambda: elastic_deform(IMAGE, affine=torch.eye(2, 3).repeat(3, 1, 1))),
    (
        "affine nan",
        ValueError,
        "affine.*finite",
        lambda: elastic_deform(IMAGE, affine=torch.full((1, 2, 3), torch.nan)),
    ),
    ("order", ValueError, "order", lambda: elastic_deform(IMAGE, CONTROL, order=3)),
    ("order count", ValueError, "order", lambda: elastic_deform(IMAGE, CONTROL, order=[1, 1])),
    ("padding", ValueError, "padding", lambda: elastic_deform(IMAGE, CONTROL, padding="wrap")),
    ("padding type", TypeError, "padding", lambda: elastic_deform(IMAGE, CONTROL, padding=None)),  # type: ignore[arg-type]
    ("padding range", ValueError, "padding", lambda: elastic_deform(IMAGE.byte(), CONTROL, order=0, padding=300)),
    (
        "padding fraction",
        ValueError,
        "padding",
        lambda: elastic_deform(IMAGE.long(), CONTROL, order="label", padding=0.5),
    ),
    ("spline", ValueError, "spline", lambda: elastic_deform(IMAGE, CONTROL, spline="cubic")),
    ("out_size", ValueError, "out_size", lambda: elastic_deform(IMAGE, CONTROL, out_size=(3,))),
    ("out_size zero", ValueError, "out_size", lambda: elastic_deform(IMAGE, CONTROL, out_size=(3, 0))),
    ("offset", ValueError, "offset", lambda: elastic_deform(IMAGE, CONTROL, out_size=(5, 5), offset=(5, 0))),
    ("backend", ValueError, "backend", lambda: elastic_deform(IMAGE, CONTROL, backend="numba")),
    ("backend device", ValueError, "backend", lambda: elastic_deform(IMAGE, CONTROL, backend="triton")),
    ("displacement", ValueError, "displacement", lambda: warp(IMAGE, torch.zeros(2, 3, 9, 9))),
    ("displacement dtype", TypeError, "displacement", lambda: warp(IMAGE, torch.zeros(2, 2, 9, 9, dtype=torch.int64))),
    ("field size", ValueError, "control", lambda: displacement_field(CONTROL, (9, 9, 9))),
    ("jacobian spline", ValueError, "spline", lambda: jacobian_determinant(CONTROL, (9, 9), "b")),
    ("points", ValueError, "points", lambda: transform_points(torch.zeros(2, 5, 3), CONTROL, (9, 9))),
    ("grid", ValueError, "grid", lambda: random_control(1, (3, 4), (9, 9))),
    ("grid and sigma", ValueError, "sigma", lambda: random_control(1, (4, 4), (9, 9), sigma=3)),
    ("rms", ValueError, "rms", lambda: random_control(1, (4, 4), (9, 9), rms=-1)),
    ("both", ValueError, "rms", lambda: random_control(1, (4, 4), (9, 9), rms=1, max_displacement=1)),
    ("p", ValueError, "p must", lambda: RandomElasticDeform(p=2)),
    ("no image", ValueError, "batch", lambda: RandomElasticDeform()({"x": IMAGE})),
]


@pytest.mark.parametrize(("error", "names", "call"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_is_refused_by_name_in_one_line(
    error: type[Exception], names: str, call: Callable[[], object]
) -> None:
    with pytest.raises(error, match=names) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_operator_itself_refuses_what_could_read_out_of_bounds() -> None:
    good = ([IMAGE], CONTROL, None, 2, [9, 9], [0, 0], [9, 9], [1], [0], [0.0])
    bad = [
        (0, [IMAGE.double()]),
        (0, [IMAGE, IMAGE[:1]]),
        (1, CONTROL[:, :, :3]),
        (1, torch.zeros(5, 2, 4, 4)),
        (2, torch.eye(2, 3)[None]),
        (4, [9]),
    ]
    bad += [(7, [7]), (8, [9]), (4, [9, 0]), (3, 9)]
    for place, value in bad:
        args = list(good)
        args[place] = value
        with pytest.raises((ValueError, TypeError)):
            torch.ops.medzoo.elastic_warp(*args)


@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_random_shapes_strides_and_values_never_crash(libraries: dict[str, cpu.Library], instruction_set: str) -> None:
    if instruction_set not in libraries:
        pytest.skip(f"no {instruction_set} library on this machine")
    run_fuzz(libraries[instruction_set].path, 70, {"baseline": 0, "avx2": 1000, "avx512": 2000}[instruction_set])


def run_fuzz(library: Path, cases: int, seed: int, env: dict[str, str] | None = None) -> None:
    command = [sys.executable, str(FUZZ), "--cases", str(cases), "--seed", str(seed), "--library", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_two_thousand_random_cases_run_clean_under_the_address_sanitizer(
    libraries: dict[str, cpu.Library], instruction_set: str, tmp_path: Path
) -> None:
    gcc = shutil.which("gcc")
    if instruction_set not in libraries or gcc is None or sys.platform != "linux":
        pytest.skip(f"needs gcc on Linux and a processor with {instruction_set}")
    runtime = subprocess.run(
        [gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("gcc has no libasan")
    library = tmp_path / "sanitized.so"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize=alignment", "-fno-sanitize-recover=undefined", "-g", "-O1"]
    build.compile_library(library, instruction_set, flags)
    env = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "OMP_NUM_THREADS": "1",
    }
    run_fuzz(library, 2000, 10_000, env)


@contextmanager
def told(text: str) -> Iterator[None]:
    """Expect exactly one line from the operator, with this text in it."""
    lines: list[str] = []

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Collects()
    logger = logging.getLogger("medzoo.core.ops.elastic_deform")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert len(lines) == 1, lines
    assert text in lines[0]
    assert "\n" not in lines[0]


def fresh_loader(monkeypatch: pytest.MonkeyPatch, cache: Path | None = None) -> None:
    monkeypatch.setattr(cpu, "_LOADER", cpu._Loader())
    if cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_without_a_compiler_the_torch_formulation_serves_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh_loader(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with told("slower torch formulation"):
        assert cpu.library() is None
    image, control = torch.rand(1, 1, 9, 12), torch.rand(1, 2, 4, 4)
    out = elastic_deform(image, control)
    assert torch.equal(out, elastic_deform(image, control, backend="torch"))
    assert backend_info()["cpu"] == "torch"
    assert "no C++ compiler" in backend_info()["cpu reason"]
    with pytest.raises(ValueError, match="no C\\+\\+ compiler"):
        elastic_deform(image, control, backend="cpp")
    with pytest.raises(ValueError, match="control"):
        elastic_deform(image, control * torch.nan)


def test_the_operator_falls_back_with_gradients_when_nothing_can_be_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh_loader(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with told("slower torch formulation"):
        assert cpu.library() is None
    image, coef = torch.rand(1, 1, 9, 12).requires_grad_(), torch.rand(1, 2, 4, 4).requires_grad_()
    (out,) = torch.ops.medzoo.elastic_warp([image], coef, None, 2, [9, 12], [0, 0], [9, 12], [1], [0], [0.0])
    found = torch.autograd.grad(out.sum(), [image, coef])
    expected = torch.autograd.grad(
        elastic_deform(image, coef, spline="coefficients", backend="torch").sum(), [image, coef]
    )
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


def test_a_compiler_that_fails_is_reported_with_its_first_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh_loader(monkeypatch)
    fake = tmp_path / "bin" / "g++"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'x.cpp:1: error: no headers' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with told("slower torch formulation"):
        assert cpu.library() is None
    assert "error: no headers" in cpu.reason()
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_a_home_that_cannot_be_written_leaves_the_fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("no compiler on this machine")
    fresh_loader(monkeypatch)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))  # also refuses root, unlike a mode
    with told("slower torch formulation"):
        assert cpu.library() is None
    assert "cannot write" in cpu.reason()


def test_a_damaged_library_leaves_the_fallback(compiled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    fresh_loader(monkeypatch)
    monkeypatch.setattr(cpu, "library_path", lambda name: broken)
    with told("slower torch formulation"):
        assert cpu.library() is None
    assert str(broken) in cpu.reason()


@pytest.fixture
def cache(compiled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a cache of its own, with a library that was compiled into it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with told("compiled for baseline"):
        build.library_path("baseline")
    return tmp_path / "medzoo" / "elastic_deform"


def test_the_cache_is_private_and_serves_without_a_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library,) = cache.glob("*.so")
    assert cache.stat().st_mode & 0o077 == 0
    assert library.stat().st_mode & 0o022 == 0
    monkeypatch.setenv("PATH", "")
    assert build.library_path("baseline") == library


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: data + b"x"])
def test_a_cut_or_changed_library_is_built_anew(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    (library,) = cache.glob("*.so")
    sound = library.read_bytes()
    library.write_bytes(damage(sound))
    with told("compiled for baseline"):
        assert build.library_path("baseline").read_bytes() == sound


def test_what_others_own_or_could_have_written_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library,) = cache.glob("*.so")
    monkeypatch.setenv("PATH", "")
    library.chmod(0o777)
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.library_path("baseline")
    library.chmod(0o700)
    cache.chmod(0o777)
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.library_path("baseline")
    assert cache.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    if cache.stat().st_uid != 0:
        with pytest.raises(build.BuildError, match="another user"):
            build.library_path("baseline")
    else:
        os.chown(cache, 54321, -1)
        with pytest.raises(build.BuildError, match="another user"):
            build.library_path("baseline")


def test_a_second_compiler_serves_where_the_first_fails(
    compiled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "g++"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    real = shutil.which("clang++") or shutil.which("g++")
    assert real
    (fake.parent / "clang++").symlink_to(real)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    build.compile_library(tmp_path / "x.so", "baseline")
    assert (tmp_path / "x.so").stat().st_size > 1000


def test_a_user_without_a_home_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(build.BuildError, match="set XDG_CACHE_HOME"):
        build.cache_folder()


@pytest.mark.slow
def test_processes_that_compile_at_the_same_time_end_with_one_whole_library(compiled: str, tmp_path: Path) -> None:
    code = "from medzoo.core.ops.elastic_deform import backend_info; print(backend_info()['cpu'])"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) for _ in range(3)
    ]
    assert [run.communicate()[0].strip() for run in runs] == ["cpp"] * 3
    assert len(list(tmp_path.rglob("*.so"))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_process_forked_after_a_threaded_call_makes_threaded_calls_of_its_own(compiled: str) -> None:
    code = """
import os, torch
from medzoo.core.ops.elastic_deform import elastic_deform
torch.set_num_threads(2)
image, control = torch.rand(1, 1, 512, 512), torch.rand(1, 2, 5, 5)
expected = elastic_deform(image, control).numpy().tobytes()
child = os.fork()
if child == 0:
    os._exit(elastic_deform(image, control).numpy().tobytes() != expected)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_the_info_command_tells_the_active_backends_and_why(compiled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "elastic-deform"]) == 0
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert told == backend_info()
    assert told["cpu"] == "cpp"
    assert all(told[f"{device} reason"] for device in ("cpu", "cuda"))


def test_importing_the_package_neither_imports_torch_nor_compiles() -> None:
    code = "import sys, medzoo.core.ops.elastic_deform; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
