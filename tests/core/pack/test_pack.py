"""`medzoo pack`: the same answers from a folder to share, nothing private in it, and no byte of it that may change."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError
from medzoo.core.phantoms import radiograph
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.packed import ABOUT, SUMS, WEIGHTS, read_packed, write_packed

IMAGES = "--model padim --data.train 3 --data.test 4 --data.pixels 64 --data.shots 3 --data.test_categories [gear]"
POINTS = "--model heatmap --data.domains [hand] --data.n_train 4 --data.n_test 2 --data.image_size 48 --model.size 32"
FITS = {
    "classes": "--model classifier --data.train 12 --data.val 6 --data.test 6 --model.size 32 --model.epochs 1",
    "points": f"{POINTS} --model.width 2 --model.decoder_width 4 --trainer.max_epochs 1 --data.resize pad",
    "images": f"{IMAGES} --model.channels 10 --model.size [64,64] --model.widths [8,12,16]",
}
CKPT = "fit/checkpoints/last.ckpt"


def picture(path: str, seed: int = 0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((radiograph("hand", seed, 60).image * 255).astype(np.uint8)[:, :50]).save(path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier, fitted and packed."""
    folder = tmp_path_factory.mktemp("packed")
    options = [*FITS["classes"].split(), "--run_dir", str(folder / "fit"), "--quiet"]
    assert main(["fit", *options]) == 0
    assert main(["pack", str(folder / "fit"), "-o", str(folder / "shared")]) == 0
    return folder


@pytest.mark.parametrize("task", FITS)
def test_a_packed_folder_gives_the_answers_of_its_checkpoint_to_the_bit_without_a_network(
    task: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["fit", *FITS[task].split(), "--run_dir", "fit", "--quiet"]) == 0
    assert main(["pack", "fit", "-o", "shared"]) == 0
    shutil.move("fit", "elsewhere")
    for seed in range(3):
        picture(f"new/{seed}.png", seed)

    def cut(*_: Any, **__: Any) -> None:
        raise OSError("the network is cut off")

    monkeypatch.setattr(socket.socket, "connect", cut)
    monkeypatch.setattr(socket, "getaddrinfo", cut)
    assert main(["predict", "shared", "new", "-o", "one"]) == 0
    assert main(["predict", CKPT.replace("fit", "elsewhere"), "new", "-o", "two"]) == 0
    one, two = (json.loads(Path(f, "predictions.json").read_text()) for f in ("one", "two"))
    assert one["settings"] == two["settings"]
    assert one["settings"].get("resize") == ("pad" if task == "points" else None)
    for ours, theirs in zip(one["predictions"], two["predictions"], strict=True):
        assert ours | {"map": ""} == theirs | {"map": ""}
    for file in Path("one").rglob("*.npy"):
        assert file.read_bytes() == Path("two", file.relative_to("one")).read_bytes()


def test_a_packed_folder_has_the_model_and_its_figures_and_nothing_of_the_training(
    packed: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = packed / "shared"
    assert {file.name for file in shared.iterdir()} == {"README.md", ABOUT, WEIGHTS, SUMS}
    original, found = read_checkpoint(packed / "fit" / "checkpoints" / "last.ckpt"), read_checkpoint(shared)
    assert found["state_dict"].keys() == original["state_dict"].keys()
    assert all(torch.equal(found["state_dict"][name], value) for name, value in original["state_dict"].items())
    assert not {"optimizer_states", "loops", "callbacks"} & set(found)
    told = json.loads((shared / ABOUT).read_text())
    results = json.loads((packed / "fit" / "results.json").read_text())
    assert told["figures"] == results["metrics"]
    text = (shared / "README.md").read_text()
    assert "not for diagnosis" in text
    assert f"| phantoms/auroc | {results['metrics']['phantoms/auroc']:.4g} |" in text
    assert str(packed) not in text + (shared / ABOUT).read_text()
    assert main(["pack", str(packed / "fit"), "-o", "again"]) == 0
    for name in (ABOUT, WEIGHTS, SUMS, "README.md"):
        assert Path("again", name).read_bytes() == (shared / name).read_bytes()  # packing is exact
    assert "to be stated by who shares them" in text
    assert main(["pack", str(packed / "fit"), "-o", "free", "--licence", "CC-BY-4.0"]) == 0
    assert "- licence of these weights: CC-BY-4.0\n" in Path("free/README.md").read_text()
    assert main(["pack", str(packed / "fit"), "-o", "again"]) == 2
    assert "exists; name another folder" in capsys.readouterr().err
    assert main(["pack", str(packed / "fit" / "checkpoints" / "best.ckpt"), "-o", "best"]) == 0
    assert json.loads(Path("best", ABOUT).read_text())["figures"] == {}  # those of the run are last.ckpt's
    assert "None were measured" in Path("best/README.md").read_text()


def test_it_is_tested_and_trained_on_as_a_checkpoint_is(
    packed: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = str(packed / "shared")
    assert main(["test", "--ckpt_path", shared, "--run_dir", "test", "--quiet"]) == 0
    tested, fitted = (json.loads((folder / "results.json").read_text()) for folder in (Path("test"), packed / "fit"))
    assert tested["metrics"] == fitted["metrics"]
    capsys.readouterr()
    fit = ["fit", *FITS["classes"].split(), "--quiet"]
    assert main([*fit, "--init_from", shared, "--run_dir", "tuned"]) == 0
    assert "tensors loaded" in capsys.readouterr().out
    assert main(["fit", "--ckpt_path", shared, "--run_dir", "on"]) == 2
    assert "packed weights hold no training to continue" in capsys.readouterr().err


def test_a_flipped_byte_anywhere_is_refused(packed: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture("new/1.png")
    for name in (WEIGHTS, ABOUT, "README.md", SUMS):
        content = (packed / "shared" / name).read_bytes()
        for place in (0, len(content) // 3, len(content) // 2, len(content) - 2):
            shutil.copytree(packed / "shared", "bad")
            changed = bytearray(content)
            changed[place] ^= 1
            Path("bad", name).write_bytes(changed)
            with pytest.raises(CheckpointError, match="bad/"):
                read_packed(Path("bad"))
            shutil.rmtree("bad")
    shutil.copytree(packed / "shared", "bad")
    Path("bad", WEIGHTS).unlink()
    assert main(["predict", "bad", "new", "-o", "out"]) == 2
    err = capsys.readouterr().err.strip()
    assert "bad/model.safetensors: is missing; get the folder anew" in err
    assert "\n" not in err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "medzoo.weights/9"}, "is not of medzoo.weights/1"),
        ({"own": {"x": {"$tensor": "none"}}}, "lacks what packed weights have"),
        ({"own": [1]}, "lacks what packed weights have"),
        ({"hyper_parameters": None}, "expected a dictionary of settings"),
        ({"hyper_parameters": {"$dict": {"_class_path": "os.system"}}}, "'os.system' is not registered"),
        ({"epoch": -1}, "'epoch' is -1, expected a count"),
    ],
)
def test_a_folder_that_somebody_wrote_is_data_and_no_more(
    change: dict[str, Any], message: str, packed: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(packed / "shared", "bad")
    told = json.loads(Path("bad", ABOUT).read_text())
    Path("bad", ABOUT).write_text(json.dumps(told | change))
    names = ("README.md", ABOUT, WEIGHTS)
    sums = "".join(f"{hashlib.sha256(Path('bad', n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    Path("bad", SUMS).write_text(sums)
    picture("new/1.png")
    assert main(["predict", "bad", "new", "-o", "out"]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err


def test_the_method_s_own_values_come_back_as_they_were(workdir: Path) -> None:
    own = {"thresholds": {"a/b": float("nan"), "c": 1.5}, "supports": {"a": torch.arange(3)}, "list": [1, None, [True]]}
    write_packed({"state_dict": {"w": torch.ones(2)}, **own}, Path("p"), "card", {})
    found = read_packed(Path("p"))
    assert np.isnan(found["thresholds"]["a/b"])
    assert found["thresholds"]["c"] == 1.5
    assert torch.equal(found["supports"]["a"], torch.arange(3))
    assert found["list"] == [1, None, [True]]
    with pytest.raises(CheckpointError, match="cannot be packed"):
        write_packed({"state_dict": {}, "odd": object()}, Path("q"), "card", {})
