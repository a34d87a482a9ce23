"""Every backend that this machine can run, chosen by name."""

from __future__ import annotations

import pytest

from medzoo.core.ops.elastic_deform import build, cpu


@pytest.fixture(scope="session")
def libraries() -> dict[str, cpu.Library]:
    """The compiled backend for each instruction set of this processor; empty without a compiler."""
    order = ["baseline", "avx2", "avx512"]
    found = {}
    for name in order[: order.index(build.best_instruction_set()) + 1]:
        try:
            found[name] = cpu.Library(build.library_path(name), name)
        except build.BuildError:
            break
    return found


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def native(request: pytest.FixtureRequest, libraries: dict[str, cpu.Library], monkeypatch: pytest.MonkeyPatch) -> str:
    """Make one compiled library serve the CPU; skipped where it cannot be built or run."""
    if request.param not in libraries:
        pytest.skip(f"no {request.param} library on this machine")
    monkeypatch.setattr(cpu._LOADER, "tried", True)
    monkeypatch.setattr(cpu._LOADER, "library", libraries[request.param])
    return "cpp"


@pytest.fixture
def compiled(libraries: dict[str, cpu.Library], monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the library that a user of this machine gets serve the CPU."""
    if not libraries:
        pytest.skip("no compiler on this machine")
    monkeypatch.setattr(cpu._LOADER, "tried", True)
    monkeypatch.setattr(cpu._LOADER, "library", list(libraries.values())[-1])
    return "cpp"


@pytest.fixture(params=["torch", "baseline", "avx2", "avx512"])
def backend(request: pytest.FixtureRequest, libraries: dict[str, cpu.Library], monkeypatch: pytest.MonkeyPatch) -> str:
    """The torch formulation and every compiled library, as a value of the `backend` argument."""
    if request.param == "torch":
        return "torch"
    if request.param not in libraries:
        pytest.skip(f"no {request.param} library on this machine")
    monkeypatch.setattr(cpu._LOADER, "tried", True)
    monkeypatch.setattr(cpu._LOADER, "library", libraries[request.param])
    return "cpp"
