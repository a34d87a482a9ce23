"""Every declared extra installs beside its distribution and serves its use; runs after the tests of wheels alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).parents[2]
DICOM = """
from pathlib import Path
import numpy as np, pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from medzoo.core.io import read_image
meta = FileMetaDataset()
meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
meta.MediaStorageSOPInstanceUID = "1.2.3"
image = FileDataset("x.dcm", {}, file_meta=meta, preamble=bytes(128))
image.SOPClassUID, image.SOPInstanceUID, image.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "DX"
image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 8, 6, 1, "MONOCHROME2"
image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
image.PixelData = np.arange(48, dtype="<u2").tobytes()
image.save_as("x.dcm")
assert read_image(Path("x.dcm")).array.shape[-2:] == (8, 6)
"""
VIDEO = """
import av, numpy as np
from medzoo.core.io.clips import read_clip
with av.open("x.avi", "w") as file:
    stream = file.add_stream("mjpeg", rate=30)
    stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
    for level in (0, 100, 200):
        frame = av.VideoFrame.from_ndarray(np.full((16, 32), level, np.uint8), format="gray")
        file.mux(stream.encode(frame.reformat(format="yuvj420p")))
    file.mux(stream.encode())
header, frames = read_clip("x.avi")
assert frames.shape == (3, 16, 32) and header.rate == 30
"""
LVH = """
from pathlib import Path
from medzoo.landmark.echo.echonet import make_fake
make_fake(Path("lvh"))
"""
DEFORM = """
import torch
from medzoo.core.ops.elastic_deform import RandElasticDeformd
assert RandElasticDeformd(keys=["image"])({"image": torch.rand(1, 16, 16)})["image"].shape == (1, 16, 16)
"""
ATTACK = """
import torch
from medzoo.adversarial.engine import AutoAttack, Victim
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
images = torch.rand(4, 1, 8, 8)
assert AutoAttack(eps=1.0)(Victim(network), images, network(images).argmax(1)).success.all()
"""
CLIP = """
import open_clip
from transformers import CLIPConfig, CLIPModel
sides = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
config = CLIPConfig(text_config=sides | dict(vocab_size=8), vision_config=sides | dict(image_size=16, patch_size=8))
CLIPModel(config)
import medzoo.vlm.zero_shot
"""
RECORDS = """
import wfdb
from pathlib import Path
from medzoo.core.phantoms.ecg import twelve_leads
Path("records").mkdir()
for number in range(4):
    made = twelve_leads(number, seconds=12.0, rate=250.0)
    kind = dict(fs=250, units=["mV"] * 2, sig_name=["MLII", "V5"], fmt=["16"] * 2, write_dir="records")
    wfdb.wrsamp(f"p{number}", p_signal=made.signal[[1, 10]].T.astype(float), **kind)
    wfdb.wrann(f"p{number}", "atr", made.beats, ["N"] * len(made.beats), write_dir="records")
"""
EDF = """
import numpy as np, edfio
from pathlib import Path
from medzoo.anomaly.signals.formats import read_record
wave = np.sin(np.arange(5000) / 40)
edfio.Edf([edfio.EdfSignal(wave, 500, label="ECG II", physical_dimension="mV")]).write("r.edf")
assert read_record(Path("r.edf")).leads == ("II",)
"""
SMALL = "--data.train 4 --data.test 4 --data.pixels 64 --data.test_categories [gear] --model.size [64,64]"
EXPORTED = "exported/checkpoints/last.ckpt"
USES: dict[tuple[str, str], list[list[str]]] = {
    ("medzoo-core", "cuda"): [["python", "-c", "import medzoo.core.ops.elastic_deform.triton_kernels"]],
    ("medzoo-core", "dicom"): [["python", "-c", DICOM]],
    ("medzoo-core", "export"): [
        f"medzoo fit --model padim --run_dir exported --quiet {SMALL}".split(),
        f"medzoo export {EXPORTED} --format onnx --source gear -o gear.onnx".split(),
        ["python", "-c", "import onnxruntime; onnxruntime.InferenceSession('gear.onnx')"],
    ],
    ("medzoo-core", "monai"): [["python", "-c", DEFORM]],
    ("medzoo-core", "tensorboard"): [
        f"medzoo fit --model padim --logger tensorboard --run_dir board --quiet {SMALL}".split(),
        ["python", "-c", "from pathlib import Path; assert list(Path('board').rglob('events.*'))"],
    ],
    ("medzoo-core", "video"): [["python", "-c", VIDEO]],
    ("medzoo-core", "testing"): [["python", "-c", "from medzoo.core.testing import ModelContract"]],
    ("medzoo-adversarial", "autoattack"): [["python", "-c", ATTACK]],
    ("medzoo-landmark", "av"): [
        ["python", "-c", LVH],
        ["medzoo", "check", "--data", "echonet-lvh", "--data.root", "lvh"],
    ],
    ("medzoo-anomaly", "imagenet"): [
        "medzoo fit --model padim --model.backbone tf_efficientnet_lite0 --model.widths null --model.weights imagenet "
        f"--run_dir wheel --quiet {SMALL}".split()
    ],
    ("medzoo-anomaly", "wfdb"): [
        ["python", "-c", RECORDS],
        ["medzoo", "check", "--data", "wfdb-folder", "--data.root", "records"],
    ],
    ("medzoo-anomaly", "edf"): [["python", "-c", EDF]],
    ("medzoo-vlm", "clip"): [["python", "-c", CLIP]],
    ("medzoo", "test"): [
        ["pytest", "--version"],
        ["python", "-c", "import av, docstring_parser, hypothesis, packaging, pydicom, sklearn, tensorboard, xdist"],
    ],
    ("medzoo", "lint"): [["ruff", "--version"], ["mypy", "--version"]],
    ("medzoo", "docs"): [["mkdocs", "--version"], ["python", "-c", "import mkdocstrings_handlers.python, material"]],
}


def declared() -> dict[tuple[str, str], list[str]]:
    """The requirements of each extra of each distribution."""
    found = {}
    for file in [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf8"))["project"]
        for extra, wanted in project.get("optional-dependencies", {}).items():
            found[project["name"], extra] = [Requirement(text).name for text in wanted]
    return found


def test_every_declared_extra_has_a_use_here() -> None:
    assert USES.keys() == declared().keys()


@pytest.mark.parametrize(("distribution", "extra"), USES, ids=lambda part: part)
def test_an_extra_brings_what_its_use_needs(home: Any, wheels: Path, distribution: str, extra: str) -> None:
    home.call("pip", "uninstall", "-q", "-y", *declared()[distribution, extra])  # what another part may have brought
    wanted = [f"{distribution}[{extra}]", "medzoo-anomaly"]
    home.call("pip", "install", "-q", "--find-links", wheels, "-c", ROOT / "constraints.txt", *wanted)
    for command in USES[distribution, extra]:
        home.call(*command)
    home.call("pip", "check")
