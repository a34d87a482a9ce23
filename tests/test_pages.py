"""The pages agree with each other and with what runs leave: links lead somewhere, every file of a run is listed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medzoo.core.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/**/*.md")]
RUNS = (ROOT / "docs" / "runs.md").read_text(encoding="utf8")
IMAGES = (
    "--data.train 3 --data.test 4 --data.pixels 64 --data.shots 3 --data.test_categories [gear] --model.channels 10"
)
VOLUMES = "--data.train 2 --data.val 1 --data.test 2 --data.size [16,20,24] --model.widths [2,4] --model.patch [8,8,8]"
POINTS = "--data.domains [hand] --data.n_train 4 --data.n_test 2 --data.image_size 48 --model.size 32 --model.width 2"
REPORTS = (
    "--data.train 16 --data.val 4 --data.test 8 --data.pixels 32 --model.size 32 --model.width 32 --model.layers 1"
)
CHESTS = "--data.train 9 --data.val 3 --data.test 6 --data.pixels 32 --model.size 32"
CLIPS = "--data.n_train 5 --data.n_val 0 --data.n_test 3 --data.image_size 24 --data.frames 24 --trainer.max_epochs 1"
TINY = {
    "landmarks": f"--model heatmap {POINTS} --model.decoder_width 4 --trainer.max_epochs 1",
    "anomalies in images": f"--model padim {IMAGES} --model.size [64,64] --model.widths [8,12,16]",
    "lesions in volumes": f"--model normnet {VOLUMES} --trainer.max_epochs 1",
    "images with text": f"--model carzero {REPORTS} --trainer.max_epochs 1",
    "clips of the left ventricle": f"--model enlvam {CLIPS} --model.widths [2,4] --model.columns 16 --model.batch 2",
    "classification": f"--model classifier --model.backbone test_efficientnet {CHESTS} --trainer.max_epochs 1",
}


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf8")):
        if "://" not in link:
            file, _, heading = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not heading or heading in anchors(target), link


def listed(section: str, task: str = "") -> Iterator[re.Pattern[str]]:
    """The files that a section of docs/runs.md names, those of a task where it names tasks; words in capitals vary."""
    _, _, text = RUNS.partition(f"\n## {section}\n")
    of = ""
    for row in re.findall(r"^\|(.+)\|$", text.partition("\n## ")[0], re.MULTILINE):
        cells = [cell.strip() for cell in row.split("|")]
        of = cells[0] or of
        names = cells[1] if len(cells) == 3 else cells[0]
        if len(cells) == 2 or of in ("all", task):
            for name in re.findall(r"`([\w/]+\.[\w.]+)`", names):
                yield re.compile("[^/]+".join(map(re.escape, re.split(r"[A-Z]{2,}", name))))


@pytest.mark.parametrize("task", TINY)
def test_what_a_run_leaves_is_what_the_page_says(task: str, workdir: Path) -> None:
    assert main(["fit", *TINY[task].split(), "--run_dir", "fit", "--quiet"]) == 0
    for verb in ("test", "predict"):
        assert main([verb, "--ckpt_path", "fit/checkpoints/last.ckpt", "--run_dir", verb, "--quiet"]) == 0
    every = list(listed("Every run"))
    tested = [*every, *listed("test", task)]
    wanted = {"fit": [*tested, *listed("fit")], "test": tested, "predict": [*every, *listed("predict", task)]}
    for verb, patterns in wanted.items():
        files = {file.relative_to(verb).as_posix() for file in Path(verb).rglob("*") if file.is_file()}
        assert not [file for file in files if not any(p.fullmatch(file) for p in patterns)], "not on the page"
        absent = {p.pattern for p in patterns if not any(p.fullmatch(file) for file in files)}
        spared = {
            "predict": {r"results\.json"},
            "fit": {r"curves\.png", r"mlflow\.db"},
        }  # one epoch, as some of these fits are, is no curve; no logger was asked for
        assert absent <= spared.get(verb, set()), "on the page only"
    with Path("test/samples.csv").open(encoding="utf8", newline="") as file:
        columns = [re.sub(r"^(p|label|logit)_.+", r"\1_CLASS", column) for column in next(csv.reader(file))]
        columns = [re.sub(r"^(IVS|LVID|LVPW)[ds]_", "IVSd_", column) for column in columns]
    assert not [column for column in columns if f"`{column}`" not in RUNS]
