"""Images with reports: the contract of the house, phantoms, and tables."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import write_image
from medzoo.core.testing.data import DataModuleContract
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.data.table import ReportTable
from medzoo.vlm.phantoms.findings import DIAGNOSES, FINDINGS, Finding, chest_radiograph, draw_findings
from medzoo.vlm.phantoms.reports import report_on
from medzoo.vlm.processor import Processor, ReportWants
from medzoo.vlm.text.rewrite import Rewriter

TINY: dict[str, Any] = {"train": 8, "val": 3, "test": 5, "pixels": 32}


class TestReportPhantoms(DataModuleContract):
    name: ClassVar[str] = "report-phantoms"
    tiny: ClassVar[dict[str, Any]] = TINY
    hidden: ClassVar[tuple[str, ...]] = ("label", "text")


def folder(root: Path, count: int = 12, **changes: str) -> Path:
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    rows = []
    for index in range(count):
        write_image(root / f"p{index:02}.png", rng.random((20, 24 + index)).astype(np.float32))
        row = {
            "id": f"p{index:02}", "text": f"There is a mass. No effusion number {index}.", "patient": f"a{index // 2}",
            "finding": "mass|nodule" if index % 2 else "", "sex": "MF"[index % 2],
            "mass": str(index % 2), "edema": "-1",
        }  # fmt: skip
        rows.append({**row, **(changes if index == 3 else {})})
    with (root / "reports.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


class TestReportTable(DataModuleContract):
    name: ClassVar[str] = "report-table"
    hidden: ClassVar[tuple[str, ...]] = ("label", "text")
    damaged: ClassVar[str] = "p03.png"

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": str(folder(tmp_path / "table")), "labels": ["finding"], "groups": ["sex"]}


def test_a_report_says_nothing_false_and_mentions_all_that_is_there() -> None:
    rewriter, counts = Rewriter(), dict.fromkeys(FINDINGS, 0)
    for index in range(400):
        rng = np.random.default_rng((5, index))
        findings = draw_findings(rng)
        names = {finding.name for finding in findings}
        states = rewriter.states(report_on(findings, rng))
        assert not {n for n, state in states.items() if state == "present"} - names
        assert not {n for n, state in states.items() if state == "absent"} & names
        assert names <= states.keys()
        for name in names:
            counts[name] += 1
    for name, kind in FINDINGS.items():
        assert counts[name] / 400 == pytest.approx(kind.share, abs=4 * math.sqrt(kind.share / 400))


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_image_on_its_side_and_more_where_it_is_severe(name: str) -> None:
    seed, pixels = (4, 2), 96
    plain = chest_radiograph([], seed, pixels)
    sides = ("left", "right") if FINDINGS[name].sided else ("",)
    for side in sides:
        changes = [np.abs(chest_radiograph([Finding(name, side, s)], seed, pixels) - plain) for s in ("mild", "severe")]
        assert changes[0].sum() > 2
        if name not in ("consolidation", "pulmonary fibrosis"):  # whose grain is drawn
            assert changes[1].sum() > changes[0].sum() * 0.95
        if side and name != "pacemaker":  # its wire leads to the heart
            half = changes[1][:, pixels // 2 :] if side == "left" else changes[1][:, : pixels // 2]
            assert half.sum() > 0.9 * changes[1].sum()


def test_diagnoses_follow_from_the_findings_and_no_report_names_one() -> None:
    plain, more = (ReportPhantoms(**{**TINY, "train": 60}, diagnoses=diagnoses) for diagnoses in (False, True))
    assert more.classes == (*FINDINGS, *DIAGNOSES)
    for item, same in zip(more.cases.parts["train"], plain.cases.parts["train"], strict=True):
        assert isinstance(item.label, tuple)
        has = {name for name, value in zip(FINDINGS, item.label, strict=False) if value}
        assert item.label == (*(same.label or ()), *(float(rule(has)) for rule in DIAGNOSES.values()))  # type: ignore[misc]
        assert not any(name in more.found.texts[item.id].lower() for name in DIAGNOSES)


def test_a_supervised_model_trains_on_the_labels_of_the_same_images(workdir: Path) -> None:
    data = "--data report-phantoms --data.train 8 --data.val 4 --data.test 6 --data.pixels 32"
    fit = f"fit --model classifier {data} --model.size 32 --model.batch 4 --trainer.max_epochs 1 --quiet --run_dir run"
    assert main([*fit.split(), "--trainer.accelerator", "cpu"]) == 0
    assert (workdir / "run/samples.csv").is_file()


def test_sentences_are_drawn_anew_each_epoch_and_shuffled_ones_are_of_others() -> None:
    data = ReportPhantoms(**TINY, size=32, captions="both")
    loader = data.train_dataloader()
    own = {name: set(pool) for name, pool in data.pools.items()}
    seen: dict[str, set[str]] = {}
    for epoch in range(6):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for batch in loader:
            for name, drawn in zip(batch["id"], batch["captions"], strict=True):
                assert set(drawn) <= own[name]
                seen.setdefault(name, set()).update(drawn)
    assert max(map(len, seen.values())) > 1
    mixed = ReportPhantoms(**TINY, size=32, captions="both", shuffled=True)
    assert sorted(map(sorted, mixed.pools.values())) == sorted(map(sorted, data.pools.values()))
    assert mixed.pools != data.pools


def test_the_order_that_is_asked_for_is_that_of_images_with_reports_too(tmp_path: Path) -> None:
    root = folder(tmp_path / "t", sex="M")  # the fourth, too: seven men, five women
    options: dict[str, Any] = {"labels": ["mass", "edema"], "groups": ["sex"], "val_fraction": 0.0, "size": 16}
    men = {"p03", *(f"p{number:02}" for number in range(0, 12, 2))}
    for order, share in (("shuffled", 7 / 12), ("group", 1 / 2), ("class", 1 / 6)):  # of six with a mass one is a man's
        data = ReportTable(str(root), test_fraction=0.0, order=order, batch_size=6, **options)
        loader = data.train_dataloader()
        names = []
        for epoch in range(40):
            loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
            names += [name for batch in loader for name in batch["id"]]
        assert np.mean([name in men for name in names]) == pytest.approx(share, abs=0.06)


def test_images_without_text_are_counted_named_and_not_trained_on(tmp_path: Path) -> None:
    root = folder(tmp_path / "t", text="")
    data = ReportTable(str(root), test_fraction=0.0, val_fraction=0.0)
    assert "p03" not in {item.id for item in data.cases.parts["train"]}
    assert data.summary()[-1] == "t: 1 images without text are not trained on: p03"
    assert all(data.corpus())


def test_images_are_brought_to_size_as_the_model_of_now_asks(tmp_path: Path) -> None:
    data = ReportTable(str(folder(tmp_path / "t")), test_fraction=0.0, val_fraction=0.0)
    seen = []
    for fit in ("stretch", "pad", "stretch"):
        model = SimpleNamespace(wants=lambda fit=fit: ReportWants((16, 16), 4, processor=Processor((16, 16), fit)))
        data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
        samples: Any = data._images(data.cases.parts["train"])
        seen.append(samples[0]["image"])
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])  # images are wider than they are high


def test_an_image_to_predict_is_its_own_whatever_it_is_called(tmp_path: Path) -> None:
    root, asked = folder(tmp_path / "t"), tmp_path / "new"
    asked.mkdir()
    write_image(asked / "p03.png", np.zeros((20, 24), np.float32))
    data = ReportTable(str(root), test_fraction=0.0, val_fraction=0.0, predict=str(asked), size=16)
    trained: Any = data._images(data.cases.parts["train"])
    known = {item.id: place for place, item in enumerate(trained.items)}
    assert trained[known["p03"]]["image"].max() > 0.5
    dataset: Any = data.predict_dataloader().dataset
    assert (dataset[0]["id"], dataset[0]["text"], float(dataset[0]["image"].max())) == ("p03", "", 0.0)
    assert trained[known["p03"]]["text"]


def test_patients_stay_together_and_own_rewritings_replace_those_of_the_rules(tmp_path: Path) -> None:
    root = folder(tmp_path / "t")
    data = ReportTable(str(root), rewritten="finding", captions="rewritten", labels=["mass", "edema"])
    parts = [{item.patient for item in items} for items in data.cases.parts.values()]
    assert all(parts)
    assert len(set.union(*parts)) == sum(map(len, parts)) == 6
    for name, pool in data.pools.items():
        assert pool == (
            ("mass", "nodule") if int(name[1:]) % 2 else ("There is lung mass", "There is no pleural effusion")
        )
    for report in data.reports("test"):  # one that is looked for is read as those that were trained on
        odd = int(report.split("number ")[1].strip(".")) % 2
        assert data.sentences_of(report)[0] == ("mass" if odd else "There is lung mass")
    label = data.cases.parts["train"][0].label
    assert isinstance(label, tuple)
    assert label[0] in (0, 1)
    assert math.isnan(label[1])


def test_one_column_of_marks_is_one_label(tmp_path: Path) -> None:
    root = folder(tmp_path / "t", mass="")
    data = ReportTable(str(root), labels=["mass"], val_fraction=0.0, test_fraction=0.0)
    labels = [item.label for item in sorted(data.cases.parts["train"], key=lambda item: item.id)]
    assert data.classes == ("mass",)
    assert labels[:3] == [(0.0,), (1.0,), (0.0,)]
    assert math.isnan((labels[3] or ())[0])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({}, {"id": "../p00"}, "leads out of"),
        ({}, {"id": "p99"}, "there is no image 'p99'"),
        ({"labels": ["mass", "edema"]}, {"mass": "0.5"}, "expected 1, 0, or −1 for unknown"),
        ({"text": "report"}, {}, "report"),
        ({"table": "no.csv"}, {}, "does not exist"),
        ({"patient": "person"}, {}, "has no column 'person', as --data.patient says"),
        ({"split": "part"}, {}, "has no column 'part', as --data.split says"),
    ],
)
def test_a_table_with_a_fault_costs_one_line(
    tmp_path: Path, options: dict[str, Any], changes: dict[str, str], said: str
) -> None:
    (fault,) = ReportTable(str(folder(tmp_path / "t", **changes)), **options).check()
    assert isinstance(fault, DataError)
    assert said in str(fault)
    assert "\n" not in str(fault)


def test_patients_in_a_column_of_another_name_are_asked_for(tmp_path: Path) -> None:
    """Passed over, each image would be a patient of its own, and those of one patient lie in two parts."""
    path = folder(tmp_path / "t") / "reports.csv"
    path.write_text(path.read_text().replace("patient", "Subject_ID", 1))
    (fault,) = ReportTable(str(tmp_path / "t")).check()
    assert "has patients in its column 'Subject_ID'" in str(fault)
    data = ReportTable(str(tmp_path / "t"), patient="Subject_ID")
    assert data.check() == []
    assert {item.patient for item in data.cases.parts["train"]} - {""}


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data\.captions: expected both"):
        ReportPhantoms(**TINY, captions="all")
    with pytest.raises(ConfigError, match=r"--data\.denials"):
        ReportPhantoms(**TINY, denials=20)
    with pytest.raises(ConfigError, match="is named twice"):
        ReportTable(str(tmp_path), labels=["text"])


def test_a_table_without_any_text_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "t", count=4)
    table = (root / "reports.csv").read_text()
    (root / "reports.csv").write_text(table.replace("There is a mass. No effusion number ", "").replace(".,", ",")
                                      .replace("p00,0", "p00,").replace("p01,1", "p01,").replace("p02,2", "p02,")
                                      .replace("p03,3", "p03,"))  # fmt: skip
    (fault,) = ReportTable(str(root)).check()
    assert "training images has a text" in str(fault)


@pytest.mark.parametrize("processor", [Processor((32, 48)), Processor((64, 64), "pad", 256 / 224)])
@pytest.mark.parametrize("shape", [(50, 90), (120, 60)])
def test_a_point_of_a_map_comes_back_to_its_place(processor: Processor, shape: tuple[int, int]) -> None:
    height, width = shape
    image = np.zeros(shape, np.float32)
    row, column = height // 2 + 5, width // 2 - 6
    image[row - 3 : row + 4, column - 3 : column + 4] = 1
    seen = processor(image)
    assert seen.shape == processor.size
    back = processor.original(seen, width, height)
    assert back.shape == shape
    weights = back / back.sum()
    y, x = np.mgrid[:height, :width]
    assert (weights * y).sum() == pytest.approx(row, abs=0.5)
    assert (weights * x).sum() == pytest.approx(column, abs=0.5)
    peak = processor.peak(seen, width, height)
    assert peak == pytest.approx((column, row), abs=5)


def test_the_paper_s_frame_is_a_square_of_256_of_which_the_middle_is_taken() -> None:
    affine = Processor((224, 224), "pad", 256 / 224).affine(2000, 1000)
    assert affine == pytest.approx(np.array([[0.128, 0, -16.436], [0, 0.128, 47.564]]))
