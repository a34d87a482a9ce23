"""Asking a checkpoint for findings by name: from Python and from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import write_image
from medzoo.core.zoo import load_checkpoint
from medzoo.vlm.phantoms.findings import chest_radiograph
from medzoo.vlm.text.prompts import Prompt, Prompts
from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier, overlay
from medzoo.vlm.zero_shot.command import run

FIT = (
    "fit --model carzero --model.size 32 --model.width 32 --model.inner 32 --model.layers 1 --model.batch 8 "
    "--data.train 24 --data.val 24 --data.test 6 --data.pixels 32 --trainer.max_epochs 1 --quiet "
    "--trainer.accelerator cpu"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "run"
    assert main([*FIT.split(), "--run_dir", str(folder)]) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for index in range(3):
        chest = chest_radiograph([], (1, index), 60)[: 60 - 10 * index]
        write_image(tmp_path / "images" / f"c{index}.png", chest, bits=16 if index == 1 else 8)
    colour = np.repeat((chest_radiograph([], (1, 9), 48) * 255).astype(np.uint8)[..., None], 4, 2)
    Image.fromarray(colour, "RGBA").save(tmp_path / "images" / "c3.png")
    return tmp_path / "images"


def test_a_table_has_a_row_an_image_and_a_column_a_class(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    prompts = ["--prompts", "pneumothorax; tuberculosis"]
    assert (
        main(["zero-shot", str(checkpoint), str(images), *prompts, "--overlays", "1", "--run_dir", str(tmp_path / "o")])
        == 0
    )
    with (tmp_path / "o/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["c0", "c1", "c2", "c3"]
    assert {"logit_pneumothorax", "logit_tuberculosis", "called_pneumothorax", "x_pneumothorax"} <= set(rows[0])
    assert "called_tuberculosis" not in rows[0]  # the validation images say nothing of it
    assert all(np.isfinite(float(row["logit_tuberculosis"])) for row in rows)
    pictures = sorted((tmp_path / "o/overlays").iterdir())
    assert len(pictures) == 4
    assert [Image.open(path).size for path in pictures] == [(60, 60), (60, 50), (60, 40), (48, 48)]
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert results["prompts"]["pneumothorax"]["positive"] == ["There is pneumothorax"]


def test_scores_do_not_depend_on_the_batch_and_one_image_and_one_prompt_will_do(checkpoint: Path, images: Path) -> None:
    model = load_checkpoint(checkpoint)
    paths = [str(path) for path in sorted(images.iterdir())]
    names = ["pneumothorax", "lung mass", "emphysema"]
    whole = ZeroShotClassifier(model, names).predict(paths)
    small = ZeroShotClassifier(model, names, batch=1).predict(paths)
    for name in names:
        alone = ZeroShotClassifier(model, [name]).predict(paths)
        for first, *others in zip(whole, small, alone, strict=True):
            assert [other.logits[name] for other in others] == pytest.approx([first.logits[name]] * 2, abs=1e-6)


def test_several_sentences_are_averaged_and_pairs_are_differences(checkpoint: Path, images: Path) -> None:
    model = load_checkpoint(checkpoint)
    path = [str(next(images.iterdir()))]

    def logit(*positive: str, negative: tuple[str, ...] = ()) -> float:
        prompts = Prompts((Prompt("a", positive, negative),), "pair" if negative else "logit")
        return ZeroShotClassifier(model, prompts).predict(path)[0].logits["a"]

    first, second = logit("There is edema"), logit("There is a mass")
    assert logit("There is edema", "There is a mass") == pytest.approx((first + second) / 2, abs=1e-6)
    assert logit("There is edema", negative=("There is a mass",)) == pytest.approx(first - second, abs=1e-6)


def test_thresholds_hold_for_the_sentences_they_were_chosen_with(checkpoint: Path, images: Path) -> None:
    model = load_checkpoint(checkpoint)
    path = [str(next(images.iterdir()))]
    other = Prompts((Prompt("pneumothorax", ("There is air in the pleural space",)),))
    assert "pneumothorax" in ZeroShotClassifier(model, ["pneumothorax"]).predict(path)[0].called
    assert ZeroShotClassifier(model, other).predict(path)[0].called == {}
    there, absent = ("There is pneumothorax",), ("There is no pneumothorax",)
    pair = Prompts((Prompt("pneumothorax", there, absent),), "pair")  # as a YAML file with both makes it
    assert ZeroShotClassifier(model, pair).predict(path)[0].called == {}
    alone = Prompts((Prompt("pneumothorax", there),))
    assert "pneumothorax" in ZeroShotClassifier(model, alone).predict(path)[0].called


def test_a_class_of_which_no_validation_image_tells_is_not_called(checkpoint: Path, images: Path) -> None:
    model = load_checkpoint(checkpoint)
    assert "pulmonary edema" in model.classes  # type: ignore[operator]
    assert "pulmonary edema" not in model.cuts  # type: ignore[operator]
    (scored,) = ZeroShotClassifier(model, ["pulmonary edema"]).predict([str(next(images.iterdir()))])
    assert scored.called == {}


def test_maps_lie_over_the_original(checkpoint: Path) -> None:
    chest = chest_radiograph([], (1, 1), 80)[:50]
    (scored,) = ZeroShotClassifier(load_checkpoint(checkpoint), ["lung mass"]).predict([chest], maps=True)
    assert scored.maps["lung mass"].shape == chest.shape
    assert (scored.id, scored.path) == ("0", "")
    x, y = scored.peaks["lung mass"]
    assert -1 < x < 80
    assert -1 < y < 50
    picture = overlay(chest, scored.maps["lung mass"])
    assert picture.shape == (3, 50, 80)
    assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs --prompts"),
        (["--prompts", ";"], "is no name of a class"),
        (["--prompts", "mass; mass"], "comes twice"),
        (["--prompts", "字"], "the model knows no word of"),
        (["--prompts", "mass " * 40], "is longer than"),
        (["--prompts", "mass", "--preset", "gpt"], "expected biovil, carzero, chexzero, clip, ctclip, gloria, name"),
        (["--prompts", "own.yaml", "--preset", "clip"], "--preset: a YAML file has its own sentences"),
        (["--prompts", "mass", "--batch", "0"], "--batch: expected at least 1"),
        (["--prompts", "mass", "--overlays", "-2"], "--overlays: expected at least 0"),
        (["--prompts", "mass", "--what", "1"], "has no such option"),
    ],
)
def test_a_wrong_question_costs_one_line(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["zero-shot", str(checkpoint), str(images), *options, "--run_dir", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "o").exists()


def test_images_that_are_missing_or_damaged_are_named(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    (images / "c2.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for place, said in (
        (images, "c2.png"),
        (tmp_path / "empty", "empty"),
        (tmp_path / "no", "does not exist; give an image"),
    ):
        with pytest.raises(DataError, match=said):
            run([str(checkpoint), str(place), "--prompts", "mass"])
    (images / "c2.png").unlink()
    (images / "more").mkdir()
    write_image(images / "more/c9.png", chest_radiograph([], (1, 9), 32))
    with pytest.raises(DataError, match=r"holds images one level down that are not read, such as more/c9\.png"):
        run([str(checkpoint), str(images), "--prompts", "mass"])
    model = load_checkpoint(checkpoint)
    with pytest.raises(DataError, match=r"has values from 0 to 255"):
        ZeroShotClassifier(model, ["mass"]).predict([np.array([[0.0, 255.0]], np.float32)])


def test_a_model_of_another_kind_is_refused() -> None:
    from medzoo.core.classifier.module import Classifier

    with pytest.raises(ConfigError, match="Classifier does not compare images with texts"):
        ZeroShotClassifier(Classifier(), ["mass"])
