"""What all tests share: the toy plug-in on the path, one thread, and a working directory of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy"
sys.path.insert(0, str(TOY))  # a plug-in of somebody else: its dist-info is found without installing it
os.environ["PYTHONPATH"] = os.pathsep.join([str(TOY), *filter(None, [os.environ.get("PYTHONPATH")])])
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that runs go there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real radiographs and signals beside the repository; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is not at hand: no folder {SHARED}")
    return SHARED
