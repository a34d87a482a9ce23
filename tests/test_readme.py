"""What the README shows in Python runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.phantoms import radiograph
from medzoo.landmark import UOD

README = Path(__file__).parent.parent / "README.md"
SMALL = ["--model.stage", "stage1", "--model.match_steps", "2", "--data.n_train", "4", "--data.n_test", "2"]


def test_the_python_example_trains_and_loads_what_the_command_line_trained(workdir: Path) -> None:
    assert main(["fit", "--model", "uod", *SMALL, "--quiet"]) == 0
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    ending = f"\nassert type(model).__name__ == {UOD.__name__!r} and model.shots and not model.training\n"
    run = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "uod" in run.stdout


def test_an_answer_on_ones_own_files_of_other_sizes_and_formats_takes_three_commands(workdir: Path) -> None:
    text = README.read_text()
    (clone,) = re.findall(r"^git clone .*$", text, re.MULTILINE)
    ((install, predict),) = re.findall(r"^(make install)\n(\.venv/bin/medzoo predict .*)$", text, re.MULTILINE)
    assert all((clone, install, predict))
    films = Path("films")
    films.mkdir()
    grey = (radiograph("hand", 0, 200).image * 65535).astype(np.uint16)
    Image.fromarray(grey[:150]).save(films / "deep.tif")
    Image.fromarray((grey[:, :77] >> 8).astype(np.uint8)).save(films / "narrow.png")
    Image.fromarray(np.stack([grey >> 8] * 3, -1).astype(np.uint8)).save(films / "colour.jpg")
    _, verb, *words = predict.replace("PATH", "films").split()
    assert main([verb, *words]) == 0
    answers = json.loads(Path("answers/predictions.json").read_text())
    assert {Path(record["path"]).name for record in answers["predictions"]} == {"colour.jpg", "deep.tif", "narrow.png"}
    sizes = {record["id"]: np.load(record["map"]).shape for record in answers["predictions"]}
    assert sizes == {"colour": (200, 200), "deep": (150, 200), "narrow": (200, 77)}


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README.read_text()) if "://" not in link]
    assert len(links) > 20
    assert not [link for link in links if not (README.parent / link).exists()]
