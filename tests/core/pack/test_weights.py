"""Weights by name: those that packages bring answer at once, and `hf://` ones come from the hub's cache."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.core import load_checkpoint
from medzoo.core.cli import main
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.phantoms import radiograph
from medzoo.core.phantoms.ct import lung_ct
from medzoo.core.registry import find, load, specs
from medzoo.core.runs.packed import check_sums
from medzoo.core.runs.weights import FILES, located

MOST = 2 * 2**20
NAMES = [spec.name for spec in specs("weight") if spec.package.startswith("medzoo-")]


@pytest.fixture
def picture(workdir: Path) -> str:
    array = (radiograph("chest", 3, 80).image * 255).astype(np.uint8)[:, :70]
    Image.fromarray(np.stack([array] * 3, -1)).save("new.png")
    return "new.png"


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network."""

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("the network is cut off")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # what --offline changes is put back


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_package_are_small_whole_and_answer_without_a_network(name: str, picture: str, cut: None) -> None:
    folder = load(find("weight", name)).path()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST
    check_sums(folder)
    spec = find("weight", name)
    assert spec.summary
    told = json.loads((folder / "model.json").read_text())
    assert told["task"] == spec.task
    assert told["figures"], "what was measured with them is said"
    sources = list(load_checkpoint(name).known_sources)[:1]  # type: ignore[arg-type]
    named = ["--source", *sources] if sources else []
    if spec.task == "anomaly segmentation":
        picture = "new.nii.gz"
        volume = lung_ct(9077, (24, 32, 40))
        write_nifti(picture, volume.image, None, volume.spacing)
    assert main(["predict", name, picture, "-o", "out", *named, "--offline"]) == 0
    (record,) = json.loads(Path("out/predictions.json").read_text())["predictions"]
    assert record["path"] == picture


def test_the_packed_classifier_is_as_good_on_chests_that_it_has_not_seen(workdir: Path, cut: None) -> None:
    told = json.loads((load(find("weight", "classifier-phantom")).path() / "model.json").read_text())
    test = ["test", "--ckpt_path", "classifier-phantom", "--data", "class-phantoms", "--data.test", "90"]
    assert main([*test, "--data.seed", "17", "--run_dir", "fresh", "--quiet", "--offline"]) == 0
    figures = json.loads(Path("fresh/results.json").read_text())["metrics"]
    assert abs(figures["phantoms/accuracy"] - told["figures"]["phantoms/accuracy"]) < 0.1
    assert figures["phantoms/auroc"] > 0.95


def test_medzoo_list_shows_them_and_an_installed_name_gives_way_to_a_path(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "padim"]) == 0
    out = capsys.readouterr().out
    assert "weights:" in out
    assert "padim-phantom" in out
    assert located("padim-phantom") == str(load(find("weight", "padim-phantom")).path())
    Path("padim-phantom").mkdir()
    assert located("padim-phantom") == "padim-phantom"
    assert located("none-phantom") == "none-phantom"
    assert main(["predict", "none-phantom", "padim-phantom", "-o", "out"]) == 2


@pytest.fixture
def hub(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub's cache with one repository, as its client lays it out."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = workdir / "cache/models--org--gears"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(load(find("weight", "padim-phantom")).path(), snapshot)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workdir / "cache"))
    return str(snapshot)


def test_weights_of_the_hub_are_taken_from_its_cache_offline(hub: str, picture: str, cut: None) -> None:
    assert main(["--offline", "predict"]) == 2  # the verb comes first
    assert main(["predict", "hf://org/gears", picture, "-o", "out", "--offline"]) == 0
    told = json.loads(Path("out/predictions.json").read_text())
    assert told["checkpoint"] == hub
    assert located("hf://org/gears@main") == hub
    assert main(["predict", "padim-phantom", picture, "-o", "own"]) == 0
    own = json.loads(Path("own/predictions.json").read_text())
    assert own["predictions"][0]["score"] == told["predictions"][0]["score"]
    assert own["model_sha256"] == told["model_sha256"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://org/other", "hf://org/other: is not in the cache, and --offline fetches nothing"),
        ("hf://other", "expected hf://ORGANISATION/NAME"),
        ("hf://org/../../etc", "expected hf://ORGANISATION/NAME"),
        ("https://host/weights", "a checkpoint is read from a local file only"),
    ],
)
def test_what_the_hub_has_not_is_one_line(
    address: str, message: str, hub: str, picture: str, cut: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", address, picture, "-o", "out", "--offline"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_a_flipped_byte_of_the_hubs_weights_is_refused(
    hub: str, picture: str, cut: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(hub, "model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["predict", "hf://org/gears", picture, "-o", "out", "--offline"]) == 2
    assert "refused: it is not the file that was packed" in capsys.readouterr().err
    assert set(FILES) == {file.name for file in Path(hub).iterdir()}
