"""Thirty-odd ways in which a volume or a folder can be wrong: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.core.phantoms.ct import lung_ct

MADE = lung_ct(3, (16, 20, 24), ("consolidation",))


def save(path: Path, values: np.ndarray, kind: type = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(kind).T, np.diag([9.0, 9.0, 9.0, 1.0])), path)
    return path


def header(path: Path, at: int, values: bytes) -> None:
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[at : at + len(values)] = values
    path.write_bytes(gzip.compress(bytes(data)))


def f32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


IMAGE, MASK, ORGAN = "image/p.nii.gz", "mask/p.nii.gz", "organ/p.nii.gz"


def cut(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-200]) and None


def image(change: Callable[[np.ndarray], np.ndarray], kind: type = np.float32) -> Callable[[Path], None]:
    return lambda root: save(root / IMAGE, change(MADE.image.copy()), kind) and None


def labels(name: str, change: Callable[[np.ndarray], np.ndarray], kind: type = np.uint8) -> Callable[[Path], None]:
    return lambda root: save(root / name, change(MADE.lungs.astype(np.float32)), kind) and None


def one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[3, 3, 3] = value
        return values

    return change


def crc(root: Path) -> None:
    data = bytearray((root / IMAGE).read_bytes())
    data[-8] ^= 0xFF
    (root / IMAGE).write_bytes(bytes(data))


def bare(root: Path) -> None:
    plain = gzip.decompress((root / IMAGE).read_bytes())
    (root / IMAGE).unlink()
    (root / "image" / "p.nii").write_bytes(plain[:-500])


def dtype(code: int, bits: int) -> Callable[[Path], None]:
    return lambda root: header(root / IMAGE, 70, np.array([code, bits], "<i2").tobytes())


def stray(root: Path) -> None:
    shutil.copy(root / MASK, root / "mask" / "q.nii.gz")


def emptied(root: Path) -> None:
    shutil.rmtree(root / "image")
    (root / "image").mkdir()


def nothing_inside(root: Path) -> None:
    for name in ("image", "mask", "organ"):
        shutil.rmtree(root / name)


def solid(root: Path) -> None:
    shutil.rmtree(root / "organ")
    body = np.where(np.indices(MADE.image.shape)[1] < 2, -1000, 40 + MADE.image * 0)
    save(root / IMAGE, body + np.arange(24) % 2)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated gzip": (cut(IMAGE), "cut short|Compressed file|cannot be read"),
    "truncated nii": (bare, "cut short"),
    "truncated mask": (cut(MASK), "mask"),
    "wrong check sum": (crc, "cannot be read"),
    "empty file": (lambda root: (root / IMAGE).write_bytes(b""), "empty"),
    "text": (lambda root: (root / IMAGE).write_text("a CT"), "cannot be read|no single-file|cut short"),
    "folder named as a file": (lambda root: (root / "image" / "q.nii").mkdir(), "q.nii"),
    "4-D": (image(lambda v: np.stack([v, v])), "values a voxel"),
    "5-D": (image(lambda v: np.stack([np.stack([v, v])] * 2)), "dimensions"),
    "2-D": (image(lambda v: v[0]), "dimensions"),
    "NaN": (image(one(np.nan)), "NaN"),
    "infinity": (image(one(np.inf)), "NaN or infinite"),
    "zero spacing": (lambda root: header(root / IMAGE, 80, f32(0.0)), "spacing"),
    "negative spacing": (lambda root: header(root / IMAGE, 84, f32(-3.0)), "spacing"),
    "NaN spacing": (lambda root: header(root / IMAGE, 88, f32(np.nan)), "spacing"),
    "NaN affine": (lambda root: header(root / IMAGE, 280, f32(np.nan)), "affine"),
    "impossible offset": (lambda root: header(root / IMAGE, 108, f32(-5.0)), "place"),
    "claims too much": (lambda root: header(root / IMAGE, 42, np.array([30000] * 3, "<i2").tobytes()), "claims"),
    "no extent": (lambda root: header(root / IMAGE, 42, np.array([0], "<i2").tobytes()), "size"),
    "complex voxels": (dtype(32, 64), "type|cut short"),
    "colour voxels": (dtype(128, 24), "type|cut short"),
    "mask of other shape": (labels(MASK, lambda v: v[:-1]), "its image"),
    "organ of other shape": (labels(ORGAN, lambda v: v[:, 1:]), "its image"),
    "transposed mask": (labels(MASK, lambda v: v.T), "its image"),
    "4-D mask": (labels(MASK, lambda v: np.stack([v, v])), "one label"),
    "fractional mask": (labels(MASK, lambda v: v * 0.5, np.float32), "no labels"),
    "negative mask": (labels(MASK, lambda v: -v, np.int16), "no labels"),
    "empty organ": (labels(ORGAN, lambda v: v * 0), "no organ"),
    "window 0…255": (image(lambda v: (v.clip(-1250, 250) + 1250) / 1500 * 255, np.uint8), "0…255"),
    "window 0…1": (image(lambda v: (v.clip(-1400, 100) + 1400) / 1500), "0…1"),
    "unsigned HU": (image(lambda v: np.where(v < 0, v + 65536, v), np.uint16), "unsigned"),
    "int16 overflow": (image(lambda v: np.where(v > 30, 32767, np.where(v < -900, -32768, v)), np.int16), "overflow"),
    "one value": (image(lambda v: v * 0), "one value"),
    "not a CT": (image(lambda v: v - v.min() + 300), "no air"),
    "too small": (image(lambda v: v[:4]), "at least"),
    "no lung": (solid, "no lung"),
    "mask of nobody": (stray, "no image of that name"),
    "empty folder": (emptied, "no .nii"),
    "no folders": (nothing_inside, "neither"),
    "no root": (shutil.rmtree, "no folder"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medzoo.core.cli import main

    folder = tmp_path_factory.mktemp("tiny") / "run"
    main(
        "fit --model normnet --data.train 1 --data.val 1 --data.test 0 --data.size [16,20,24] --model.widths [2,4] "
        "--model.patch [8,8,8] --model.members 1 --model.epochs 1 --trainer.check_val_every_n_epoch 1 "
        f"--trainer.accelerator cpu --run_dir {folder}".split()
    )
    return folder / "checkpoints" / "last.ckpt"


def valid(root: Path) -> None:
    save(root / IMAGE, MADE.image)
    save(root / MASK, MADE.lesions > 0, np.uint8)
    save(root / ORGAN, MADE.lungs, np.uint8)


@pytest.mark.parametrize("name", FAULTS)
def test_a_malformed_volume_is_one_line_exit_code_2_and_leaves_nothing(
    name: str, checkpoint: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medzoo.core.cli import main

    spoil, text = FAULTS[name]
    valid(workdir / "data")
    spoil(workdir / "data")
    capsys.readouterr()
    code = main(
        f"predict --ckpt_path {checkpoint} --data nifti-volumes --data.root data --trainer.accelerator cpu "
        "--run_dir out".split()
    )
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medzoo:")]
    assert code == 2
    assert len(error) == 1
    assert "internal" not in error[0]
    import re

    assert re.search(text, error[0]), error[0]
    assert not (workdir / "out").exists()


def test_the_same_folder_unspoiled_goes_through(checkpoint: Path, workdir: Path) -> None:
    from medzoo.core.cli import main

    valid(workdir / "data")
    arguments = f"predict --ckpt_path {checkpoint} --data nifti-volumes --data.root data --trainer.accelerator cpu"
    assert not main([*arguments.split(), "--run_dir", "out"])
    assert (workdir / "out" / "volumes" / "p" / "mask.nii.gz").is_file()
