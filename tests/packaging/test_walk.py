"""The README's way from a clone to an answer on own files, as a newcomer types it: `make walk`, in CI once a week."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.packaging, pytest.mark.slow]


def test_from_a_clone_to_an_answer_in_three_commands_and_a_quarter_of_an_hour(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    (clone,) = re.findall(r"^git clone .*$", text, re.MULTILINE)
    ((install, predict),) = re.findall(r"^(make install)\n(\.venv/bin/medzoo predict .*)$", text, re.MULTILINE)
    films = tmp_path / "films"
    films.mkdir()
    grey = np.linspace(0, 65535, 90 * 140).reshape(90, 140).astype(np.uint16)
    Image.fromarray(grey).save(films / "deep.tif")
    Image.fromarray((grey[:, :77] >> 8).astype(np.uint8)).save(films / "narrow.png")
    typed = [
        clone.replace("<this repository>", f"{ROOT} medzoo"),
        install,
        predict.replace("PATH", str(films)),
    ]
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-ec", "\n".join(typed)], cwd=tmp_path, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    assert time.monotonic() - start < 15 * 60
    answers = json.loads((tmp_path / "medzoo/answers/predictions.json").read_text())["predictions"]
    sizes = {record["id"]: np.load(tmp_path / "medzoo" / record["map"]).shape for record in answers}
    assert sizes == {"deep": (90, 140), "narrow": (90, 77)}
