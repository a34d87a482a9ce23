"""Every method of the package keeps the contract of the house."""

from __future__ import annotations

import os
from typing import ClassVar

import pytest

from medzoo.anomaly.anomalib.process import PYTHON
from medzoo.core.testing import ModelContract

IMAGES = {
    "data.train": 5,
    "data.test": 4,
    "data.pixels": 64,
    "data.shots": 3,
    "data.test_categories": ["gear", "pill"],
    "model.size": [64, 64],
    "model.widths": [8, 12, 16],
}


OWN = {key: value for key, value in IMAGES.items() if key != "model.widths"} | {"data.train": 10, "data.shots": None}
"""For methods that train on the tested categories themselves."""


class TestNormNet(ModelContract):
    name = "normnet"
    tiny = {
        "data.train": 4,
        "data.val": 3,
        "data.test": 3,
        "data.size": [16, 20, 24],
        "model.widths": [2, 4],
        "model.patch": [8, 8, 8],
        "trainer.check_val_every_n_epoch": 1,
    }


class TestSim2Real(ModelContract):
    name = "sim2real"
    tiny = {
        "data.train": 4,
        "data.unlabelled": 3,
        "data.test": 3,
        "data.size": [16, 20, 24],
        "model.width": 2,
        "model.levels": 2,
        "model.batch": 2,
        "model.patch": [8, 8, 8],
        "model.epochs": 1,
        "model.adapt_epochs": 1,
        "model.threshold": 0.01,  # untrained, the mask is empty, and the precision of nothing is no number
    }


class TestRegAD(ModelContract):
    name = "regad"
    tiny = IMAGES | {"model.batch": 16}


class TestCAReg(ModelContract):
    name = "careg"
    tiny = IMAGES | {"model.batch": 16, "model.inside": 8, "model.share": 0.02}


class TestSSM(ModelContract):
    name = "ssm"
    tiny = OWN | {"model.size": [32, 32], "model.width": 2, "model.tile": 4}


class TestARNet(ModelContract):
    name = "arnet"
    tiny = OWN | {"model.size": [32, 32], "model.width": 2}


class TestESAD(ModelContract):
    name = "esad"
    tiny = OWN | {
        "model.size": [32, 32],
        "model.width": 2,
        "model.latent": 4,
        "model.batch": 4,
        "data.test": 6,
        "data.known": 1,
        "data.known_kinds": ["scratch"],
    }


class TestITF(ModelContract):
    name = "itf"
    tiny = OWN | {"model.size": [32, 32], "model.widths": [4, 6, 8], "model.latent": 4, "model.batch": 4}


class TestPaDiM(ModelContract):
    name = "padim"
    tiny = IMAGES | {"model.channels": 10}
    one_process = True


class TestPatchCore(ModelContract):
    name = "patchcore"
    tiny = IMAGES
    one_process = True


class TestMCF(ModelContract):
    name = "mcf"
    differentiates_to = "signal"
    tiny = {
        "data.train": 5,
        "data.val": 3,
        "data.test": 4,
        "data.kinds": ["pvc", "tall_t"],
        "model.length": 320,
        "model.widths": [4, 4, 4, 4, 4],
        "model.hidden": 6,
        "model.batch": 3,
        "trainer.check_val_every_n_epoch": 1,
    }


class TestEcgSSL(ModelContract):
    name = "ecg-ssl"
    differentiates_to = "signal"
    tiny = TestMCF.tiny | {"model.head": [8]}


class TestEcgLongtail(ModelContract):
    name = "ecg-longtail"
    differentiates_to = "signal"
    resumes = 2
    tiny: ClassVar[dict[str, object]] = {
        key: value for key, value in TestEcgSSL.tiny.items() if key not in ("data.train", "data.kinds")
    } | {
        "data.normal": 5,
        "data.train": 6,
        "data.test": 6,
        "model.width": 32,
        "model.blocks": 1,
        "model.groups": 8,
        "model.dropout": 0.0,
        "trainer.max_epochs": 12,  # fewer leave averages of the normalisation at which no unit answers in a test
    }


class TestEcgRare(ModelContract):
    name = "ecg-rare"
    differentiates_to = "signal"
    resumes = 2
    tiny: ClassVar[dict[str, object]] = TestEcgLongtail.tiny | {"model.joint": False, "model.restore_epochs": 1}


@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no environment; make anomalib does")
class TestAnomalib(ModelContract):
    name = "anomalib"
    tiny = {key: value for key, value in IMAGES.items() if key != "model.widths"}
    one_process = True
