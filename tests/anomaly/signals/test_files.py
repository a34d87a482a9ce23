"""Records in files: the UCR text layout and WFDB, sound, damaged, and real ones where they are at hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.anomaly.signals.files import wfdb, wfdb_header
from medzoo.anomaly.signals.formats import read_record
from medzoo.anomaly.signals.module import SignalDataModule
from medzoo.anomaly.signals.prepare import r_peaks
from medzoo.anomaly.signals.ucr import UcrBeats
from medzoo.anomaly.signals.wfdb_folder import DS1, DS2, WfdbFolder
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.phantoms.ecg import twelve_leads

REAL = Path(__file__).parents[4] / "shared" / "data" / "ecg"
needs_wfdb = pytest.mark.skipif(find_spec("wfdb") is None, reason="the library wfdb is not installed")
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real electrocardiograms in ../shared/data/ecg")


def written(folder: Path, name: str = "p1", symbols: str = "", leads: Sequence[str] = ("MLII", "V5")) -> None:
    made, rows = twelve_leads(1, seconds=30.0, rate=250.0), {"MLII": 1, "V1": 6, "V5": 10}
    fine = {"fs": 250, "units": ["mV", "uV"], "sig_name": list(leads), "fmt": ["16"] * 2}
    signal = made.signal[[rows[lead] for lead in leads]].T.astype(float) * np.array([1.0, 1000.0])
    wfdb().wrsamp(name, p_signal=signal, write_dir=str(folder), **fine)
    own = list(symbols.ljust(len(made.beats), "N"))
    wfdb().wrann(name, "atr", made.beats, own, write_dir=str(folder))


@needs_wfdb
def test_the_usual_split_of_mit_bih_is_by_patient_and_leaves_out_pacemakers(tmp_path: Path) -> None:
    for name in ("101", "106", "102", "201", "202", "100"):
        written(tmp_path, name, "NNNV" if name == "202" else "")
    data = WfdbFolder(str(tmp_path), split="ds1-ds2", val_fraction=0.4, seconds=5.0)
    parts = [{item.id.split("/")[0] for item in part} for part in (data.items.train, data.items.val, data.items.test)]
    assert parts[0] | parts[1] == {"101", "106"}
    assert not parts[0] & parts[1]
    assert parts[2] == {"100", "202"}
    assert {item.kind for item in data.items.test} == {"", "V"}
    assert data.summary()[-1] == "records of DS1: 2 of 21, of DS2: 2 of 22"
    assert not {*DS1} & {*DS2}
    (lone := tmp_path / "lone").mkdir()
    written(lone, "mine")
    with pytest.raises(DataError, match="has no record of DS1 or DS2"):
        _ = WfdbFolder(str(lone), split="ds1-ds2").items


@needs_wfdb
def test_two_records_of_one_person_are_in_one_part_whatever_the_split(tmp_path: Path) -> None:
    for name in ("100", "103", "201", "202"):
        written(tmp_path, name)
    for seed in range(8):
        items = WfdbFolder(str(tmp_path), test_fraction=0.5, val_fraction=0.0, seconds=10.0, seed=seed).items
        test = {item.id.split("/")[0] for item in items.test}
        assert len(test & {"201", "202"}) in (0, 2), seed
        assert len({item.patient for item in items.test}) == len(test) - ({"201", "202"} <= test)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "beats.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def line(kind: str, count: int = 40) -> str:
    return f"{kind} " + " ".join(f"{np.sin(i):.3f}" for i in range(count))


def test_one_table_is_split_and_only_normal_beats_are_trained_on(tmp_path: Path) -> None:
    path = table(tmp_path, *(line(kind) for kind in "1111111111" + "2345"))
    data = UcrBeats(str(path), seconds=1.0, rate=160.0)
    assert data.check() == []
    parts = data.items
    assert (len(parts.train), len(parts.val), len(parts.test)) == (5, 2, 7)
    assert not any(item.label for item in (*parts.train, *parts.val))
    assert sorted(item.kind for item in parts.test) == ["", "", "", "class 2", "class 3", "class 4", "class 5"]
    batch = next(iter(data.test_dataloader()))
    assert batch["signal"].shape[1:] == (1, 160)
    assert batch["beats"][0].tolist() == [48]  # its window of 160 samples begins at 1
    assert batch["age"].isnan().all()


@pytest.mark.parametrize(
    ("lines", "said"),
    [(["1 2 x"], "not a table of numbers"), ([line("1"), line("1", 39)], "lines of one length"),
     ([line("1", 5)], "has 6 columns"), ([line("2")], "no beat of class 1"),
     ([line("1"), line("1").replace(" 0.841", " nan")], "missing value in line 2")],
)  # fmt: skip
def test_a_table_that_cannot_be_used_costs_one_line(tmp_path: Path, lines: list[str], said: str) -> None:
    faults = UcrBeats(str(table(tmp_path, *lines))).check()
    assert len(faults) == 1
    assert said in str(faults[0])
    assert "\n" not in str(faults[0])


def test_a_missing_table_and_a_folder_without_tables(tmp_path: Path) -> None:
    assert "has 0 files *_TRAIN.tsv" in str(UcrBeats(str(tmp_path)).check()[0])


def test_without_the_library_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    monkeypatch.setitem(sys.modules, "wfdb.processing", None)
    with pytest.raises(ConfigError, match=r"medzoo-anomaly\[wfdb\]"):
        wfdb()


@needs_wfdb
def test_stretches_are_marked_about_their_abnormal_beats(tmp_path: Path) -> None:
    written(tmp_path, symbols="NNNNNV")
    data = WfdbFolder(str(tmp_path), test_fraction=0.9, val_fraction=0.0, seconds=5.0)
    (batch,) = data.test_dataloader()
    assert batch["signal"].shape == (5, 2, 2500)
    assert float(batch["signal"][0].std(1).max()) < 5  # µV became mV
    marked = [int(mask.any()) for mask in batch["mask"]]
    assert marked == batch["label"].tolist()
    assert sum(batch["kind"][i] == "V" for i in range(5)) == sum(marked)


@needs_wfdb
@pytest.mark.parametrize("shift", [-0.2, 0.2])
def test_a_stretch_that_the_beat_of_its_neighbour_reaches_is_abnormal_too(tmp_path: Path, shift: float) -> None:
    written(tmp_path, symbols="NNNNNV")
    peak = twelve_leads(1, seconds=30.0, rate=250.0).beats[5] / 250
    data = WfdbFolder(str(tmp_path), test_fraction=0.9, val_fraction=0.0, seconds=float(peak + shift))
    items = data._stretches(tmp_path / "p1.hea", wfdb_header(tmp_path / "p1.hea"), "p1")
    whole = data.dataset(items)
    marked = [int(whole[i]["mask"].any()) for i in range(len(whole))]
    assert marked[:2] == [1, 1]
    assert [item.label for item in items] == marked
    assert [item.kind for item in items[:3]] == ["V", "V", ""]
    assert not any(item.label for item in (*data.items.train, *data.items.val))


@needs_wfdb
def test_a_record_of_whole_stretches_loses_none_to_rounding(tmp_path: Path) -> None:
    written(tmp_path)
    for seconds in (30 / count for count in range(1, 60)):
        data = WfdbFolder(str(tmp_path), test_fraction=0.9, val_fraction=0.0, seconds=seconds)
        header = wfdb_header(tmp_path / "p1.hea")
        assert len(data._stretches(tmp_path / "p1.hea", header, "p1")) == round(30 / seconds)


@needs_wfdb
def test_a_table_of_patients_that_names_no_record_costs_one_line(tmp_path: Path) -> None:
    written(tmp_path, "a")
    written(tmp_path, "b")
    (tmp_path / "metadata.csv").write_text("id,patient\nA1,7\nB1,7\n")
    (fault,) = WfdbFolder(str(tmp_path)).check()
    assert "metadata.csv: names no record of the folder; its first is 'A1'" in str(fault)
    (tmp_path / "metadata.csv").write_text("id,patient\na,7\nb,7\n")
    assert WfdbFolder(str(tmp_path)).check() == []


@needs_wfdb
def test_leads_are_those_of_the_first_record_whatever_their_order_in_another(tmp_path: Path) -> None:
    written(tmp_path, "a")
    written(tmp_path, "b", leads=["V5", "MLII"])
    data = WfdbFolder(str(tmp_path), test_fraction=0.5, val_fraction=0.0, seconds=10.0)
    samples = data.dataset((*data.items.train, *data.items.test))
    signals = {sample["id"]: sample["signal"] for sample in (samples[i] for i in range(len(samples)))}
    torch.testing.assert_close(signals["a/0000"], signals["b/0000"], atol=1e-3, rtol=0)
    written(tmp_path, "c", leads=["V1", "MLII"])
    (fault,) = WfdbFolder(str(tmp_path)).check()
    said = "c.hea: has leads V1, MLII where a has MLII, V5; take --data.leads [MLII], which all have"
    assert str(fault).endswith(said)
    assert WfdbFolder(str(tmp_path), leads=["MLII"]).check() == []
    for part in ("c.hea", "c.dat", "c.atr"):
        (tmp_path / part).unlink()
    header = tmp_path / "b.hea"
    header.write_text(header.read_text().replace(" V5", " ECG V5"))  # as another device writes it
    assert WfdbFolder(str(tmp_path)).check() == []


@needs_wfdb
@pytest.mark.parametrize(
    ("damage", "said"),
    [("p1.dat", "names p1.dat, which is not beside it"), ("p1.atr", "every record needs its annotated beats"),
     ("p1.hea", "has no WFDB header")],
)  # fmt: skip
def test_a_missing_file_is_named(tmp_path: Path, damage: str, said: str) -> None:
    written(tmp_path)
    (tmp_path / damage).unlink()
    faults = WfdbFolder(str(tmp_path)).check()
    assert len(faults) == 1
    assert said in str(faults[0])


@needs_wfdb
def test_a_cut_signal_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "p1.dat").write_bytes(b"1234")
    with pytest.raises(DataError, match=r"p1.hea: cannot be read as WFDB"):
        list(WfdbFolder(str(tmp_path), test_fraction=0.9, val_fraction=0.0).test_dataloader())


@needs_wfdb
def test_r_peaks_are_found_where_they_are_and_never_in_a_flat_line() -> None:
    made = twelve_leads(4)
    found = r_peaks(made.signal[1], 500.0)
    near = [np.abs(found - r).min() <= 25 for r in made.beats[1:-1]]
    assert np.mean(near) > 0.9
    assert len(r_peaks(np.zeros(5000, np.float32), 500.0)) == 0
    for step in (10, 13):  # 50 and 38 samples a second
        coarse = r_peaks(made.signal[1, ::step], 500 / step) * step
        assert np.mean([np.abs(coarse - r).min() <= 50 for r in made.beats[1:-1]]) > 0.9


@needs_wfdb
def test_other_signals_than_voltages_are_no_leads_and_segments_cost_one_line(tmp_path: Path) -> None:
    signal = twelve_leads(1).signal[[1, 6]].T.astype(float)
    kind = {"fs": 500, "sig_name": ["II", "ABP"], "fmt": ["16"] * 2, "write_dir": str(tmp_path)}
    wfdb().wrsamp("mixed", p_signal=signal, units=["mV", "mmHg"], **kind)
    assert read_record(tmp_path / "mixed.hea").leads == ("II",)
    wfdb().wrsamp("none", p_signal=signal, units=["pm", "mmHg"], **kind)
    with pytest.raises(DataError, match=r"none.hea: has no signal in mV, uV or V \(mmHg, pm\)"):
        read_record(tmp_path / "none.hea")
    (tmp_path / "all.hea").write_text("all/2 2 500 10000\nmixed 5000\nnone 5000\n")
    with pytest.raises(DataError, match="header of several segments"):
        read_record(tmp_path / "all.hea")


@needs_data
def test_ecg5000_is_read() -> None:
    data = UcrBeats(str(REAL / "ECG5000_A.txt"))
    assert data.check() == []
    kinds = [item.kind for item in data.items.test]
    assert (len(data.items.train), kinds.count("class 2"), kinds.count("class 3")) == (70, 94, 8)


@needs_data
@needs_wfdb
def test_record_100_of_mit_bih_is_read() -> None:
    data: SignalDataModule = WfdbFolder(str(REAL), rate=100.0, seconds=9.6)
    assert data.check() == []
    batch = next(iter(data.test_dataloader()))
    assert batch["leads"][0] == ["MLII", "V5"]
    assert batch["signal"].shape[1:] == (2, 960)
    assert torch.tensor([len(beats) for beats in batch["beats"]]).float().mean() == pytest.approx(12, abs=2)
    assert {item.kind for item in data.items.test} >= {"", "S"}
