"""What the README shows in Python runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from medzoo.core.cli import main
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


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README.read_text()) if "://" not in link]
    assert len(links) > 20
    assert not [link for link in links if not (README.parent / link).exists()]
