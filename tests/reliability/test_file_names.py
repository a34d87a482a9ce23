"""Images of any name through whole commands: what is written stays in the run folder and is valid, output is intact."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medzoo.core.cli import main
from medzoo.core.io import write_image

NAMES = [
    os.fsdecode(b"caf\xe9"),  # not UTF-8
    "\x1b[31mred",
    "two\nlines",
    "pi|pe",
    "=1+1",
    "n" * 246,
    "äö",
]
ONE = "--trainer.devices 1 --trainer.accelerator cpu"
LANDMARK = (
    f"fit --model heatmap --data landmark-folder --data.root hands --data.shots all --data.test_fraction 0 {ONE} "
    "--model.size 32 --model.width 4 --model.decoder_width 8 --model.batch 4 --model.steps 1 --quiet --run_dir fit"
)
TEST = "test --ckpt_path fit/checkpoints/last.ckpt --run_dir tested"
PREDICT = "predict --ckpt_path fit/checkpoints/last.ckpt --run_dir predicted"


def picture(path: Path, seed: int) -> None:
    """Write an image; the writer takes plain names only, so it is renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.png")
    write_image(plain, np.random.default_rng(seed).random((40, 48)).astype(np.float32))
    plain.rename(path)


def shell(arguments: str, end: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run the command in a terminal without an encoding."""
    env = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    line = f"{shlex.quote(sys.executable)} -m medzoo.core {arguments} {end}"
    return subprocess.run(["bash", "-c", line], capture_output=True, timeout=300, check=False, env=env)


def check_run(run: Path, before: set[Path]) -> None:
    """Look at everything a run has written."""
    everything = {p for p in Path().rglob("*") if p.is_file()}
    assert all(run in p.parents for p in everything - before), "written outside of the run folder"
    for path in everything:
        if run not in path.parents:
            continue
        raw = os.fsencode(path)
        assert raw.decode("utf-8").isprintable(), path
        assert len(os.fsencode(path.name)) <= 200
        if path.suffix in (".csv", ".json", ".md", ".yaml", ".txt"):
            text = path.read_text("utf-8")
            # A table gives names as they are, for it can be read back; a cell with a line end stands in quotes.
            assert path.suffix == ".csv" or not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), path
            if path.suffix == ".json":
                json.loads(text)
            elif path.suffix == ".csv":
                rows = list(csv.reader(text.splitlines(keepends=True)))
                assert len({len(row) for row in rows}) == 1, path
                assert not any(re.match(r"=|@|\+[^\d]", cell) for row in rows for cell in row), path
            elif path.suffix == ".md":
                lines = [line for line in text.splitlines() if line.startswith("|")]
                widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
                assert len(widths) == 1, text
        elif path.suffix == ".png":
            assert path.read_bytes()[:4] == b"\x89PNG"


def run_all(commands: dict[str, str]) -> None:
    """Run each command in a poor terminal, and again with its output closed, which must change nothing."""
    for verb, line in commands.items():
        before = {p for p in Path().rglob("*") if p.is_file()}
        done = shell(line)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        for stream in (done.stdout, done.stderr):
            assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", stream), stream
            stream.decode("ascii")
        run = Path(line.rpartition(" ")[2])
        check_run(run, before)
        written = {p.relative_to(run) for p in run.rglob("*") if p.is_file()}
        closed = shell(f"{line}-closed", ">&- 2>&-")
        assert closed.returncode == 0, verb
        other = run.with_name(f"{run.name}-closed")
        assert {p.relative_to(other) for p in other.rglob("*") if p.is_file()} == written


@pytest.mark.slow
def test_landmarks(workdir: Path) -> None:
    for i, name in enumerate(NAMES):
        picture(workdir / "hands" / f"{name}.png", i)
        shapes = [
            {"label": label, "shape_type": "point", "points": [[10.0 + i, 12.0 + k]]}
            for k, label in enumerate(["ti|p", "=root"])
        ]
        (workdir / "hands" / f"{name}.json").write_text(json.dumps({"shapes": shapes}))
    assert main(LANDMARK.split()) == 0
    run_all({"test": TEST.replace("--run_dir", "--data.all_test true --run_dir"), "predict": PREDICT})
    assert len(list(workdir.glob("predicted/figures/*/*.png"))) == len(NAMES)
    records = json.loads((workdir / "predicted/predictions.json").read_text("utf-8"))["predictions"]
    assert sorted(r["id"] for r in records) == sorted(NAMES)
    with (workdir / "tested/samples.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["class-folder", "mvtec-folder"])
def test_anomalies(workdir: Path, layout: str) -> None:
    for i in range(3):
        inner = "train/NORMAL" if layout == "class-folder" else "=1|\x1b[31m/train/good"
        picture(workdir / "parts" / inner / f"{i}.png", i)
    for i, name in enumerate(NAMES):
        kind = ("NORMAL", "be|nt")[i % 2] if layout == "class-folder" else "good"
        inner = f"test/{kind}" if layout == "class-folder" else f"=1|\x1b[31m/test/{kind}"
        picture(workdir / "parts" / inner / f"{name}.png", 10 + i)
    fit = f"fit --model padim --data {layout} --data.root parts --model.size 64 --model.widths [4,8,8] --quiet {ONE}"
    assert main(f"{fit} --run_dir fit".split()) == 0
    run_all({"test": TEST, "predict": PREDICT})
    assert len(list(workdir.glob("predicted/maps/**/*.npy"))) == len(NAMES)
    with (workdir / "tested/samples.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(NAMES)
