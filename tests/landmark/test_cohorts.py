"""Several test sets in one run: `medzoo test … --test_set NAME=DIR`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from medzoo.core.cli import main
from medzoo.core.io import read_json, write_image

ONE = "--trainer.devices 1 --trainer.accelerator cpu --quiet"
FIT = (
    "fit --model heatmap --data landmark-folder --data.root hands --data.shots all --data.test_fraction 0.4 "
    f"--model.size 32 --model.width 4 --model.decoder_width 8 --model.batch 2 --model.steps 2 --run_dir fit {ONE}"
)
TEST = f"test --ckpt_path fit/checkpoints/last.ckpt {ONE}"


def hands(folder: Path, seed: int, count: int = 5) -> None:
    folder.mkdir(parents=True)
    rows = ["id,landmark,x,y"]
    for i in range(count):
        random = np.random.default_rng((seed, i))
        write_image(folder / f"im{i}.png", random.random((40, 48)).astype(np.float32))
        rows += [f"im{i},{name},{random.uniform(5, 40):.1f},{random.uniform(5, 35):.1f}" for name in ("tip", "root")]
    (folder / "landmarks.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with three cohorts and a tiny model of the first."""
    folder = tmp_path_factory.mktemp("cohorts")
    for seed, name in enumerate(("hands", "clinic", "far/away")):
        hands(folder / name, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(FIT.split()) == 0
    return folder


@pytest.fixture
def there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_each_further_set_is_an_external_cohort_with_figures_and_a_folder_of_its_own(there: Path) -> None:
    assert main(f"{TEST} --test_set clinic=clinic --test_set=abroad=far/away --run_dir many".split()) == 0
    results = read_json(Path("many/results.json"))
    assert results["test_sets"] == {"clinic": "clinic", "abroad": "far/away"}
    for name, root in {"": "hands", "clinic": "clinic", "abroad": "far/away"}.items():
        alone = f"alone{name}"
        assert main(f"{TEST} --data.root {root} --run_dir {alone}".split()) == 0
        expected = read_json(Path(alone) / "results.json")["metrics"]
        start = f"{name}/" if name else "folder/"
        found = {key: value for key, value in results["metrics"].items() if key.startswith(start)}
        assert found == {f"{name}/{key}" if name else key: value for key, value in expected.items()}
        for table in ("samples.csv", "landmarks.csv", "table.md"):
            assert (Path("many") / name / table).read_text() == (Path(alone) / table).read_text()
        assert len((Path("many") / name / "samples.csv").read_text().splitlines()) == (6 if name else 3)
        assert list((Path("many") / name / "figures").glob("*.png"))
    assert main(f"{TEST} --config many/config.yaml --run_dir again".split()) == 0  # a file says the same
    assert read_json(Path("again/results.json"))["metrics"] == results["metrics"]


def test_test_sets_of_a_file_and_of_flags_add_up(there: Path) -> None:
    Path("sets.yaml").write_text("test_sets: {clinic: clinic}\n")
    assert main(f"{TEST} --config sets.yaml --test_set abroad=far/away --run_dir both".split()) == 0
    told = yaml.safe_load(Path("both/config.yaml").read_text())["test_sets"]
    assert told == {"clinic": "clinic", "abroad": "far/away"}


WRONG: dict[str, tuple[str, str]] = {
    "no name": ("--test_set clinic", "expected NAME=DIR"),
    "no folder": ("--test_set clinic=nowhere", "there is no folder nowhere"),
    "twice": ("--test_set clinic=clinic --test_set Clinic=hands", "the name 'Clinic' is taken"),
    "a folder of the run": ("--test_set figures=clinic", "the name 'figures' is taken"),
    "outside": ("--test_set ../clinic=clinic", "'../clinic' is no name for a folder"),
    "a source": ("--test_set folder=clinic", "folder is what the first set's own figures are called"),
    "a list": ("--config list.yaml", "expected folders by name, got list"),
    "not text": ("--config number.yaml", "expected NAME=DIR"),
    "no labels": ("--test_set bare=bare", "bare has no labelled images to test with"),
    "phantoms": ("--data landmark-phantoms --test_set clinic=clinic", "reads no folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_set_that_cannot_be_is_one_line(there: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.yaml").write_text("test_sets: [clinic]\n")
    Path("number.yaml").write_text("test_sets: {clinic: 3}\n")
    if not Path("bare").is_dir():
        Path("bare").mkdir()
        shutil.copy("clinic/im0.png", "bare/im0.png")
    asked, said = WRONG[case]
    assert main(f"{TEST} {asked} --run_dir wrong".split()) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert said in line
    assert not Path("wrong").exists()


@pytest.mark.parametrize("verb", ["validate", "predict"])
def test_other_verbs_have_no_test_sets(there: Path, verb: str, read: Callable[[], str]) -> None:
    assert main(f"{verb} {TEST.partition(' ')[2]} --test_set clinic=clinic".split()) == 2
    assert "is for medzoo test" in read()


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().err
