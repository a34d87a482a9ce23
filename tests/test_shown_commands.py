"""Every command that README, docs, cards and package pages show is one that this version takes."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.phantoms import radiograph

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/**/*.md")]
READING = [
    "check",
    "test",
    "validate",
    "predict",
    "select",
    "attack",
    "certify",
    "audit",
    "zero-shot",
    "evaluate",
    "compare",
    "pack",
    "export",
    "convert",
    "report",
]
"""Verbs whose files are those of the reader of a page."""
ABSENT = r"no such|does not exist|is (no|not a) folder|not found|no file|is missing"


def shown() -> dict[str, list[str]]:
    """Each command of medzoo in a block of code, in one line, with the pages that show it."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf8"), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("medzoo "):
                    command = re.split(r" {3,}| # ", line)[0]  # what stands beside it is a remark
                    found.setdefault(re.sub(r" \[[A-Z][^]]*\]| \[--\w+\]", "", command).strip(), []).append(page.name)
    return found


COMMANDS = shown()


def test_there_are_commands_on_the_pages_of_every_kind() -> None:
    assert len(COMMANDS) > 20
    pages = {page for pages in COMMANDS.values() for page in pages}
    assert {"README.md", "own_data.md", "own_ct.md", "card.md", "models.md", "anomaly.md", "uod.md"} <= pages


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_is_understood(command: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, verb, *options = shlex.split(command)
    assert program == "medzoo"
    if verb == "fit" and "--help" not in options:
        options.append("--print_config")  # all options resolved, nothing trained
    if verb == "benchmark":
        options.append("--dry_run")
    code = main([verb, *options])
    shown = capsys.readouterr()
    # Their folders and checkpoints are not here.
    if verb in READING or (verb == "fit" and "--init_from" in options and code):
        assert code == 2
        assert re.search(ABSENT, shown.err), shown.err
    else:
        if "needs pip install" in shown.err:
            pytest.skip(shown.err.strip())
        assert code == 0, shown.err
        assert shown.out
    assert "internal error" not in shown.err


TINY = """--model.match_size 64 --model.patch 64 --model.points 4 --model.vgg_widths [4,4,4,4,4] --model.embedding 4
--model.vgg_depths [1,1,1,1,1] --model.decoder_widths [4,4,4,4] --model.size 32 --model.embed 8 --model.heads [1,1,2,2]
--model.match_batch 4 --model.detect_batch 4 --model.match_steps 2 --model.detect_steps 2 --quiet"""


def chests(folder: Path, seeds: range, labelled: range) -> None:
    """Chests in the Shenzhen layout, some with labels."""
    (folder / "pngs").mkdir(parents=True)
    (folder / "labels").mkdir()
    for seed in seeds:
        phantom = radiograph("chest", seed, 48)
        Image.fromarray((phantom.image * 255).astype(np.uint8)).save(folder / "pngs" / f"im{seed}.png")
        if seed in labelled:
            rows = (phantom.landmarks / 48).clip(0, 1)
            text = "\n".join(["6", *(f"{x:.6f} {y:.6f}" for x, y in rows)])
            (folder / "labels" / f"im{seed}.txt").write_text(text)


def test_the_commands_of_the_readme_run_one_after_the_other_on_ones_own_images(workdir: Path) -> None:
    chests(Path("DIR"), range(6), range(1))
    chests(Path("OTHER"), range(6, 10), range(6, 10))
    Path("NEW").mkdir()
    Path("OTHER/pngs/im9.png").rename("NEW/im9.png")
    Path("OTHER/labels/im9.txt").unlink()
    flow = [command for command, pages in COMMANDS.items() if "README.md" in pages and "mix" not in command]
    wanted = [
        next(command for command in flow if command.startswith(start))
        for start in ("medzoo check", "medzoo fit --model uod --data chest", "medzoo test", "medzoo predict")
    ]
    for command in wanted:
        _, verb, *options = shlex.split(command)
        assert main([verb, *options, *(TINY.split() if verb == "fit" else [])]) == 0, command
    with Path("runs/uod/chest/1/landmarks.csv").open(encoding="utf8", newline="") as file:
        assert max(int(row["visible"]) for row in csv.DictReader(file)) == 3  # all of the other folder, not a part
    with Path("runs/uod/landmark-folder/0/predictions.csv").open(encoding="utf8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["im9"] * 6


def test_every_file_that_a_command_of_the_benchmarks_runs_is_there() -> None:
    text = "".join(page.read_text(encoding="utf8") for page in PAGES)
    scripts = set(re.findall(r"python (\w+/[\w/]+\.py)", text))
    assert len(scripts) > 5
    assert not [script for script in scripts if not (ROOT / script).is_file()]


def test_the_targets_that_the_pages_name_are_in_the_makefile() -> None:
    text = "".join(page.read_text(encoding="utf8") for page in PAGES)
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | set(re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
    assert {"fit", "test", "oldest", "audit"} <= named
    assert named <= targets
