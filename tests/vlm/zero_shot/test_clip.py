"""Local folders of Hugging Face and open_clip, asked in the same command: their own scores, in a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_model

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import write_image
from medzoo.vlm.phantoms.findings import chest_radiograph
from medzoo.vlm.processor import Processor
from medzoo.vlm.text.prompts import Prompt, Prompts
from medzoo.vlm.zero_shot.classifier import ZeroShotClassifier
from medzoo.vlm.zero_shot.clip import frame_of, load_clip

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LEVELS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def hugging_face(folder: Path, crop: bool = True) -> Any:
    """Write a tiny CLIP in the layout of Hugging Face and return it."""
    transformers = pytest.importorskip("transformers")
    pieces = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **ends}))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(pieces), "max_position_embeddings": 40, "bos_token_id": 52, "eos_token_id": 53}
    vision = {**small, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": crop, **LEVELS}))
    return model


def open_clip_folder(folder: Path) -> Any:
    """Write a tiny CLIP in the layout of open_clip and return it."""
    open_clip = pytest.importorskip("open_clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
        "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    settings = {"mean": LEVELS["image_mean"], "std": LEVELS["image_std"]}
    torch.manual_seed(0)
    model = open_clip.CLIP(**config).eval()
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": settings}))
    save_model(model, str(folder / "open_clip_model.safetensors"))
    return model


def normalised(image: np.ndarray[Any, Any]) -> torch.Tensor:
    mean, spread = (torch.tensor(LEVELS[key])[:, None, None] for key in ("image_mean", "image_std"))
    return ((torch.from_numpy(image)[None] - mean) / spread)[None]


def test_a_folder_of_hugging_face_gives_its_own_logits_and_a_map(tmp_path: Path) -> None:
    model = hugging_face(tmp_path / "clip")
    image = chest_radiograph([], (1, 1), 32)
    tokenizer = pytest.importorskip("transformers").CLIPTokenizer.from_pretrained(tmp_path / "clip")
    tokens = tokenizer(["no mass", "mass"], padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model(pixel_values=normalised(image), **tokens).logits_per_image[0]
    found = load_clip(tmp_path / "clip")
    prompts = Prompts((Prompt("a", ("no mass",)), Prompt("b", ("mass",))))
    (scored,) = ZeroShotClassifier(found, prompts).predict([image], maps=True)
    assert list(scored.logits.values()) == pytest.approx(wanted.tolist(), abs=1e-3)
    assert scored.maps["a"].shape == (32, 32)
    assert scored.maps["a"].std() > 0
    assert scored.called == {}


def test_a_folder_of_open_clip_gives_its_own_logits_and_a_map(tmp_path: Path) -> None:
    model = open_clip_folder(tmp_path / "oc")
    open_clip = pytest.importorskip("open_clip")
    image = chest_radiograph([], (1, 1), 32)
    with torch.no_grad():
        texts = open_clip.SimpleTokenizer(context_length=40)(["There is a mass"])
        wanted = model.get_logits(normalised(image), texts)[0]
    found = load_clip(tmp_path / "oc")
    prompts = Prompts((Prompt("a", ("There is a mass",)),))
    (scored,) = ZeroShotClassifier(found, prompts).predict([image], maps=True)
    assert scored.logits["a"] == pytest.approx(float(wanted), abs=1e-3)
    assert scored.maps["a"].std() > 0


@pytest.mark.parametrize(
    ("settings", "frame"),
    [
        ({"do_center_crop": True}, ("crop", 1.0)),
        ({"do_center_crop": True, "size": 224, "crop_size": 224}, ("crop", 1.0)),
        ({"do_center_crop": True, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
         ("crop", 256 / 224)),
        ({"do_center_crop": False, "size": {"height": 224, "width": 224}}, ("stretch", 1.0)),
        ({"do_center_crop": True, "size": {"height": 224, "width": 224}, "crop_size": {"height": 224, "width": 224}},
         ("stretch", 1.0)),
    ],
)  # fmt: skip
def test_images_are_brought_to_size_as_the_settings_of_hugging_face_say(
    settings: dict[str, Any], frame: tuple[str, float]
) -> None:
    assert frame_of(settings) == frame


def test_images_are_brought_to_size_as_the_settings_of_open_clip_say(tmp_path: Path) -> None:
    open_clip_folder(tmp_path / "oc")
    path = tmp_path / "oc/open_clip_config.json"
    content = json.loads(path.read_text())
    for mode, fit in (("longest", "pad"), ("squash", "stretch"), ("shortest", "crop")):
        content["preprocess_cfg"]["resize_mode"] = mode
        path.write_text(json.dumps(content))
        assert load_clip(tmp_path / "oc").processor.fit == fit


def test_the_command_takes_a_folder_in_the_place_of_a_checkpoint(tmp_path: Path) -> None:
    hugging_face(tmp_path / "clip")
    (tmp_path / "images").mkdir()
    for index, rows in enumerate((40, 30)):
        write_image(tmp_path / "images" / f"c{index}.png", chest_radiograph([], (1, index), 40)[:rows])
    run = ["--run_dir", str(tmp_path / "out"), "--prompts", "mass; edema", "--preset", "chexzero"]
    assert main(["zero-shot", str(tmp_path / "clip"), str(tmp_path / "images"), *run]) == 0
    with (tmp_path / "out/predictions.csv").open() as file:
        rows_ = list(csv.DictReader(file))
    assert [row["id"] for row in rows_] == ["c0", "c1"]
    assert all(np.isfinite(float(row["logit_edema"])) for row in rows_)
    with pytest.raises(ConfigError, match="is longer than 40 pieces"):
        ZeroShotClassifier(load_clip(tmp_path / "clip"), ["mass of many words " * 5])


def test_what_sticks_out_is_cut_and_a_point_comes_back() -> None:
    processor = Processor((32, 32), "crop")
    image = np.zeros((40, 80), np.float32)
    image[:, 20:60] = 1  # the middle square
    assert processor(image)[:, 1:-1].min() > 0.99
    peak = np.zeros((4, 4), np.float32)
    peak[0, 3] = 1
    assert processor.peak(peak, 80, 40) == pytest.approx((54.5, 4.5), abs=0.6)


def test_a_folder_that_is_none_of_these_costs_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no config.json or open_clip_config.json"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match="is of the kind 'bert'"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(DataError, match=r"has no model.safetensors"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text("no JSON")
    with pytest.raises(DataError, match="cannot be read as CLIP") as error:
        load_clip(tmp_path)
    assert "\n" not in str(error.value)
