"""Hostile files cost no more than an ordinary mistake: checkpoints, tables, images, arrays, cards, run folders."""

from __future__ import annotations

import builtins
import gzip
import io
import json
import os
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

FEW = 10
BEGUN = ("fit pixels.png", "fit inflates.nii.gz")
"""What is wrong with these shows when pixels are decoded, as a run has begun; it takes its folder away."""
Cases = dict[str, list[str]]


class Calls:
    """Unpickles as the result of a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def laughs(levels: int = 60) -> Any:
    value: Any = [1]
    for _ in range(levels):
        value = [value, value]
    return value


def checkpoints(folder: Path, clean: dict[str, Any]) -> Cases:
    """Checkpoints with programs, foreign classes, settings and sizes that cannot be, in five ways to use one."""
    own = clean["hyper_parameters"]
    weight = next(iter(clean["state_dict"]))
    state = clean["state_dict"]
    wrong: dict[str, Any] = {
        "os.system": {**clean, "extra": Calls(os.system, "touch sung")},
        "eval": {**clean, "callbacks": {"x": Calls(builtins.eval, "open('sung', 'w')")}},
        "Popen": {**clean, "hyper_parameters": {**own, "width": Calls(subprocess.Popen, ["touch", "sung"])}},
        "nested": {**clean, "hyper_parameters": {**own, "width": deep(400)}},
        "laughs": {**clean, "hyper_parameters": {**own, "width": laughs()}},
        "laughs in the optimiser": {**clean, "optimizer_states": [{"state": {0: {"x": laughs()}}, "param_groups": []}]},
        "laughs in what nobody reads": {**clean, "mine": laughs()},
        "many settings": {**clean, "hyper_parameters": {**own, **{f"k{n}": n for n in range(120_000)}}},
        "long text": {**clean, "hyper_parameters": {**own, "width": "9" * 10**6}},
        "text of brackets": {**clean, "hyper_parameters": {**own, "width": "[" * 10**5}},
        "text of keys": {**clean, "hyper_parameters": {**own, "width": "? " * 10**5}},
        "text of aliases": {**clean, "hyper_parameters": {**own, "lr": "&a [*a]"}},
        "width": {**clean, "hyper_parameters": {**own, "width": 2 * 10**8}},
        "width below zero": {**clean, "hyper_parameters": {**own, "width": -5}},
        "count": {**clean, "global_step": 10**30},
        "expanded": {**clean, "state_dict": {**state, weight: torch.zeros(1).expand(10**6, 10**5)}},
        "sparse": {**clean, "state_dict": {**state, weight: torch.sparse_coo_tensor(size=(10**6, 10**6))}},
        "meta": {**clean, "state_dict": {**state, weight: torch.empty(10**9, 10**3, device="meta")}},
        "not finite": {**clean, "state_dict": {**state, weight: state[weight] * torch.nan}},
        "a list": [1],
        "no weights": {key: value for key, value in clean.items() if key != "state_dict"},
    }
    for name in ("canary.Song", "os.system", "builtins.eval", "medzoo.core.cli.main", "canary", "../canary", ""):
        wrong[f"class {name}"] = {**clean, "hyper_parameters": {**own, "_class_path": name}}
        wrong[f"data {name}"] = {**clean, "datamodule_hyper_parameters": {"_class_path": name}}
    wrong["instantiator"] = {**clean, "hyper_parameters": {"_instantiator": "os.system", "name": "touch sung"}}
    for name, content in wrong.items():
        torch.save(content, folder / f"{name.replace('/', '')}.ckpt")
    with zipfile.ZipFile(folder / "deflated.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**28))
    with zipfile.ZipFile(folder / "records.ckpt", "w") as archive:
        for number in range(5000):
            archive.writestr(f"archive/data/{number}", b"")
    (folder / "nested pickle.ckpt").write_bytes(b"\x80\x02" + b"(" * 300_000 + b"l" * 300_000 + b".")
    (folder / "long pickle.ckpt").write_bytes(b"\x80\x02\x8e" + struct.pack("<Q", 2**40) + b".")
    (folder / "empty.ckpt").touch()
    (folder / "text.ckpt").write_text("model: toy\n" * 1000)
    (folder / "folder.ckpt").mkdir()
    os.mkfifo(folder / "pipe.ckpt")
    ways = (["test", "--ckpt_path"], ["predict", "--ckpt_path"], ["fit", "--model", "toy", "--init_from"])
    files = sorted(folder.glob("*.ckpt"))
    odd = ("width", "class", "data", "text of", "long text", "instantiator", "count", "laughs in what")
    cases = {f"{way[0]} {f.name}": [*way, f.name] for f in files for way in ways[:2]}
    # A start from weights reads these alone: what else the file says is nothing to it.
    cases |= {f"from {f.name}": [*ways[2], f.name] for f in files if not f.name.startswith(odd)}
    return cases


def tables(folder: Path, clean: dict[str, Any]) -> Cases:
    """Tables and label files of landmarks."""
    del clean
    many = 60_000
    texts = {
        "landmarks.csv": {
            "names": "id,landmark,x,y\n" + "".join(f"a,p{n},1,1\n" for n in range(many)),
            "columns": "id," + ",".join(f"p{n}_x,p{n}_y" for n in range(many)) + "\na," + ",".join(["1"] * 2 * many),
            "quotes": 'id,a_x,a_y\n"' + '""' * 10**6,
            "open quote": 'id,a_x,a_y\na,"' + "1\n" * 10**6,
            "cell": "id,a_x,a_y\na,1," + "9" * 2**21,
            "digits": "id,a_x,a_y\na,1," + "9" * 400,
            "zero bytes": "id,a_x,a_y\n" + "\0" * 10**6,
            "formula": "id,a_x,a_y\n=HYPERLINK(1),1,1\n",
            "nan": "id,a_x,a_y\na,nan,inf\n",
            "out of the folder": "id,a_x,a_y\n../../../etc/passwd,1,1\n",
            "one name often": "id,a_x,a_y\n" + "a,1,1\n" * many,
        },
        "landmarks.json": {
            "nested": "[" * 10**5,
            "nested mapping": '{"a":' * 10**5,
            "digits": '{"images": [], "annotations": [], "categories": ' + "9" * 10**5 + "}",
            "constants": '{"images": [NaN], "annotations": Infinity, "categories": []}',
            "ids": json.dumps({"images": [{"id": n, "file_name": f"{n}"} for n in range(50_000)], "annotations": {}}),
            "twice": '{"images": [], "images": []}',
            "half a surrogate": '{"images": "\\ud800"}',
        },
    }
    cases = {}
    for file, contents in texts.items():
        for name, text in contents.items():
            place = folder / f"{name}{Path(file).suffix}"
            place.mkdir()
            (place / file).write_text(text)
            Image.new("L", (16, 16)).save(place / "a.png")
            for verb in (["check"], ["fit", "--model", "heatmap"]):
                cases[f"{verb[0]} {place.name}"] = [*verb, "--data", "landmark-folder", "--data.root", place.name]
    table = folder / "predictions.csv"
    table.write_text("id,label,score,sex\n" + "".join(f"{n},1,{'9' * 400},m\n" for n in range(20)))
    cases["audit digits"] = ["audit", table.name, "--group", "sex"]
    return cases


def png(width: int, height: int, *extra: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = b"".join(chunk(*entry) for entry in extra)
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def nifti(shape: tuple[int, ...], kind: int = 16, bits: int = 32) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, kind, bits)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def images(folder: Path, clean: dict[str, Any]) -> Cases:
    """Images that claim or inflate to more than they hold, or are something else, among labelled images."""
    del clean
    bomb = zlib.compress(bytes(2**28))
    jpeg = io.BytesIO()
    Image.new("L", (16, 16)).save(jpeg, "JPEG")
    at = jpeg.getvalue().index(b"\xff\xc0")
    claims = jpeg.getvalue()[: at + 5] + struct.pack(">2H", 65500, 65500) + jpeg.getvalue()[at + 9 :]
    tags = ((256, 60_000), (257, 60_000), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 60_000), (279, 8))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + table + bytes(4)
    many = b"II*\0" + struct.pack("<IHHHII", 8, 1, 273, 4, 2**31, 8) + bytes(4)
    loop = b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, 4, 1, 8) + struct.pack("<I", 8)
    bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 60_000, 60_000, 1, 8, 1, 0, 0, 0, 256, 0)
    contents = {
        "claims.png": png(60_000, 60_000),
        "large.png": png(2**31 - 1, 2**31 - 1),
        "pixels.png": png(16, 16, pixels=bytes(2**28)),
        "text.png": png(16, 16, (b"zTXt", b"a\0\0" + bomb), pixels=bytes(272)),
        "profile.png": png(16, 16, (b"iCCP", b"a\0\0" + bomb)),
        "exif.png": png(16, 16, (b"eXIf", b"II*\0" + bytes(2**22))),
        "claims.jpg": claims,
        "claims.tif": tiff,
        "tags.tif": many,
        "loop.tif": loop,
        "claims.bmp": bmp,
        "claims.nii": nifti((30_000, 30_000, 300)),
        "product.nii": nifti((32_767,) * 7),
        "negative.nii": nifti((-4, 4, 4)),
        "objects.nii": nifti((4, 4, 4), kind=0),
        "complex.nii": nifti((4, 4, 4), kind=32, bits=64) + bytes(512),
        "inflates.nii.gz": gzip.compress(nifti((64, 64, 1)) + bytes(2**28)),
        "members.nii.gz": gzip.compress(nifti((64, 64, 64))) + gzip.compress(b"") * 20_000,
        "program.png": b"\x7fELF" + bytes(1000),
        "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x"/></svg>',
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(sung) (w) file closefile\n",
        "list.dcm": bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0\0\0\0\0" + b"\x08\0\x05\0SQ\0\0\xff\xff\xff\xff" * 5000,
        "length.dcm": bytes(128) + b"DICM" + b"\x08\0\x05\0UN\0\0\xff\xff\xff\x7f" + bytes(100),
    }
    cases = {}
    for name, content in contents.items():
        place = folder / name.replace(".", "_")
        place.mkdir()
        (place / name).write_bytes(content)
        Image.new("L", (16, 16)).save(place / "b.png")
        stem = name.partition(".")[0]
        (place / "landmarks.csv").write_text(f"id,a_x,a_y\n{stem},1,2\nb,1,2\n")
        for verb in (["check"], ["fit", "--model", "heatmap"]):
            cases[f"{verb[0]} {name}"] = [*verb, "--data", "landmark-folder", "--data.root", place.name]
    # These have a sound header, and a check reads no more; the text and the profile belong to no pixel.
    for late in (
        "check pixels.png",
        "check inflates.nii.gz",
        "check exif.png",
        "fit exif.png",
        "check text.png",
        "fit text.png",
    ):
        cases.pop(late)
    return cases


def arrays(folder: Path, clean: dict[str, Any]) -> Cases:
    """Archives of arrays with programs, and with sizes that cannot be."""
    del clean

    def archive(name: str, head: str, body: bytes = b"", packing: int = zipfile.ZIP_STORED) -> None:
        text = head.ljust(117) + "\n"
        content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + body
        with zipfile.ZipFile(folder / f"{name}.npz", "w", packing) as file:
            for part in ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"):
                file.writestr(f"{part}.npy", content)

    plain = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }"
    archive("claims", plain % "1000000, 1000, 1000")
    archive("negative", plain % "-1, 8, 8")
    archive("product", plain % "4294967296, 4294967296, 4294967296")
    archive("program", "{'descr': __import__('os').system('touch sung'), 'fortran_order': False, 'shape': (1,), }")
    archive("nested", "(" * 5000)
    archive("inflates", plain % "65536, 64, 64", bytes(2**28), zipfile.ZIP_DEFLATED)
    np.savez(folder / "objects.npz", train_images=np.array([Calls(os.system, "touch sung")], dtype=object))
    (folder / "text.npz").write_text("x" * 1000)
    (folder / "pickle.npz").write_bytes(b"\x80\x04c" + b"os\nsystem\n(Vtouch sung\ntR.")
    cases = {}
    for file in sorted(folder.glob("*.npz")):
        for data in ("npz-images", "classes-npz"):
            cases[f"{data} {file.name}"] = ["check", "--data", data, "--data.root", file.name]
    return cases


def runs(folder: Path, clean: dict[str, Any]) -> Cases:
    """Run folders that somebody else made, to be continued."""
    configurations = {
        "class": "model: canary.Song\n",
        "laughs": "a: &a [1]\nb: [*a, *a]\n",
        "callbacks": "model: toy\ntrainer: {callbacks: [{class_path: os.system, init_args: {command: touch sung}}]}\n",
        "server": "model: toy\ntrainer: {logger: {class_path: http://127.0.0.1:9/x}}\n",
        "config": "model: toy\nconfig: ../../x\n",
        "nested": "[" * 10**6,
        "binary": "\x01\x02",
    }
    cases = {}
    for name, text in configurations.items():
        place = folder / name
        (place / "checkpoints").mkdir(parents=True)
        (place / "config.yaml").write_text(text)
        torch.save(clean, place / "checkpoints/last.ckpt")
        cases[name] = ["fit", "--resume", "--run_dir", name]
    return cases


KINDS = {"checkpoints": checkpoints, "tables": tables, "images": images, "arrays": arrays, "run folders": runs}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, measured: Any) -> dict[str, Any]:
    """What a real checkpoint holds."""
    folder = tmp_path_factory.mktemp("clean")
    done = measured(folder, "fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet")
    assert done["code"] == 0, done["err"]
    loaded: dict[str, Any] = torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)
    return loaded


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_hostile_file_costs_no_more_than_a_mistake(
    kind: str, few: bool, tmp_path: Path, clean: dict[str, Any], measured: Any, figure: Any
) -> None:
    (tmp_path / "canary.py").write_text("open('sung', 'w').close()\nclass Song: ...\n")
    (tmp_path / "ordinary").mkdir()
    (tmp_path / "ordinary/landmarks.csv").write_text("id,a_x,a_y\na,1,two\n")
    Image.new("L", (16, 16)).save(tmp_path / "ordinary/a.png")
    cases = KINDS[kind](tmp_path, clean)
    chosen = random.Random(kind).sample(sorted(cases), min(FEW, len(cases))) if few else sorted(cases)
    with figure("A4", f"{kind} of {len(cases)} within 1 s and 512 MB, {'some' if few else 'all'}") as count:
        for name in chosen:
            verb, *_ = args = cases[name]
            plain = [verb, "--model", "toy", "--data", "toy-data", "--nosuch", "1"]
            if "landmark-folder" in args:
                plain = [*args[:-1], "ordinary"]
            elif verb == "check":
                plain = ["check", "--data", "landmark-folder", "--data.root", "ordinary"]
            wrong = measured.refused(tmp_path, plain, *args, begun=name in BEGUN)
            count(not wrong, f"{name}: {wrong}")
