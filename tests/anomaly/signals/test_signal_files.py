"""Records named on the command line: formats agree, what is mended is said, what cannot be used costs a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medzoo.anomaly.signals.annotations import write_annotations
from medzoo.anomaly.signals.files import wfdb
from medzoo.anomaly.signals.formats import companions, read_record
from medzoo.anomaly.signals.leads import STANDARD, lead_names
from medzoo.anomaly.signals.prepare import chosen_leads
from medzoo.anomaly.signals.quality import remarks
from medzoo.core.cli import main
from medzoo.core.errors import DataError
from medzoo.core.phantoms.ecg import twelve_leads

Signal = NDArray[np.float32]
needs_wfdb = pytest.mark.skipif(find_spec("wfdb") is None, reason="the library wfdb is not installed")
needs_edf = pytest.mark.skipif(find_spec("edfio") is None, reason="the library edfio is not installed")
RATE = 250.0


def phantom(patient: int = 3) -> Signal:
    return twelve_leads(patient, rate=RATE).signal


def write_csv(path: Path, signal: Signal, leads: tuple[str, ...] = STANDARD, clock: bool = True) -> Path:
    rows = signal.T
    names = list(leads)
    if clock:
        rows, names = np.column_stack([np.arange(len(rows)) / RATE, rows]), ["time_s", *leads]
    np.savetxt(path, rows, fmt="%.6g", delimiter=",", header=",".join(names), comments="")
    return path


def write_npz(path: Path, signal: Signal) -> Path:
    np.savez(path, signal=signal, leads=np.array(STANDARD), rate=RATE, age=61.0, sex=1.0)
    return path


def write_dicom(path: Path, signal: Signal, age: str = "061Y") -> Path:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = TwelveLeadECGWaveformStorage, "1.2.3", "ECG"
    data.PatientAge, data.PatientSex = age, "F"
    group = Dataset()
    group.WaveformOriginality, group.NumberOfWaveformChannels = "ORIGINAL", len(signal)
    group.NumberOfWaveformSamples, group.SamplingFrequency = signal.shape[1], RATE
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = []
    for name in STANDARD:
        channel, source, unit = Dataset(), Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "x", "MDC", f"Lead {name}"
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
        channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = 2.0, 1.0
        channel.ChannelBaseline, channel.WaveformBitsStored = 0.0, 16
        group.ChannelDefinitionSequence.append(channel)
    group.WaveformData = np.rint(signal.T * 500).astype("<i2").tobytes()
    data.WaveformSequence = [group]
    data.save_as(path)
    return path


def write_edf(path: Path, signal: Signal) -> Path:
    edfio = pytest.importorskip("edfio")
    kind = {"physical_dimension": "uV", "physical_range": (-10_000.0, 10_000.0)}
    rows = zip(signal, STANDARD, strict=True)
    edfio.Edf([edfio.EdfSignal(row * 1000.0, RATE, label=f"ECG {name}", **kind) for row, name in rows]).write(path)
    return path


def write_wfdb(path: Path, signal: Signal) -> Path:
    kind = {"fs": RATE, "units": ["mV"] * 12, "sig_name": list(STANDARD), "fmt": ["16"] * 12}
    wfdb().wrsamp(path.stem, p_signal=signal.T.astype(float), write_dir=str(path.parent), **kind)
    return path


WRITERS: dict[str, Callable[[Path, Signal], Path]] = {
    ".csv": write_csv, ".npz": write_npz, ".dcm": write_dicom, ".edf": write_edf, ".hea": write_wfdb,
}  # fmt: skip


@pytest.mark.parametrize(
    "ending",
    [".csv", ".npz", ".dcm", pytest.param(".edf", marks=needs_edf), pytest.param(".hea", marks=needs_wfdb)],
)
def test_a_record_is_the_same_from_any_format(tmp_path: Path, ending: str) -> None:
    signal = phantom()
    found = read_record(WRITERS[ending](tmp_path / f"r{ending}", signal))
    assert (found.rate, found.leads) == (RATE, STANDARD)
    assert found.signal.shape == signal.shape
    np.testing.assert_allclose(found.signal, signal, atol=0.0015)
    if ending in (".dcm", ".npz"):
        assert (found.age, found.sex) == (61.0, 1.0)


@pytest.mark.parametrize(("said", "years"), [("018M", 1.5), ("004W", 0.077), ("002D", 0.005), ("105Y", 105.0)])
def test_the_age_of_a_child_may_be_in_months_weeks_or_days(tmp_path: Path, said: str, years: float) -> None:
    found = read_record(write_dicom(tmp_path / "r.dcm", phantom()[:, :500], said))
    assert found.age == pytest.approx(years, abs=0.001)


@pytest.mark.parametrize(
    ("label", "name"),
    [("Lead I (Einthoven)", "I"), ("aVR, augmented voltage, right", "aVR"), ("ECG_v1", "V1"), ("EKG-II", "II"),
     ("MDC_ECG_LEAD_AVF", "aVF"), ("MLII", "MLII"), ("ECG", "ECG"), (" ECG Lead III ", "III")],
)  # fmt: skip
def test_leads_have_their_own_names_whatever_a_device_adds(label: str, name: str) -> None:
    assert lead_names([label]) == (name,)
    signal = np.arange(4, dtype=np.float32)[None]
    np.testing.assert_array_equal(chosen_leads(signal, [label], [name.lower()], "r"), signal)
    np.testing.assert_array_equal(chosen_leads(signal, [name], [label], "r"), signal)
    assert not any("computed" in note for note in remarks(signal, RATE, [name], [label], 9))


def test_a_limb_lead_is_computed_by_whatever_name_it_is_asked_for() -> None:
    signal = phantom()[:2]
    np.testing.assert_array_equal(*(chosen_leads(signal, ["I", "II"], [name], "r") for name in ("avf", "aVF")))


def damaged(folder: Path, how: str) -> Path:
    path, signal = folder / "r.csv", phantom()
    if how == "clock":
        return write_csv(path, signal, clock=False)
    if how == "adc":
        return write_csv(path, 200 * signal)
    write_csv(path, signal)
    text = path.read_text()
    if how == "word":
        path.write_text(text.replace("\n0.004,", "\n0.004x,"))
    if how == "commas":
        path.write_text(text.replace(",", ";").replace(".", ","))
    if how == "headless":
        path.write_text(text[text.index("\n") + 1 :])
    if how == "milliseconds":
        path.write_text(text.replace("time_s", "time_ms"))
    if how == "short":
        path.write_text(text[: text.rindex(",")] + "\n")
    if how == "times":
        path.write_text(text.replace("\n0.5,", "\n0.9,"))
    if how == "scp":
        return path.rename(folder / "r.scp")
    if how == "pickle":
        np.savez(folder / "r.npz", signal=np.array([{}], dtype=object))
        return folder / "r.npz"
    if how == "dicom":
        (folder / "r.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1\2\3")
        return folder / "r.dcm"
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [("clock", "does not say its samples a second"), ("adc", "mV in lead"), ("word", "not a table of numbers"),
     ("commas", "write each number with a decimal point"), ("headless", "has numbers in its first line"),
     ("milliseconds", "has 250000 samples a second, .*; correct the rate or the times"),
     ("short", "has no 13 values in line 2501"), ("times", "do not grow evenly"), ("scp", "is SCP-ECG"),
     ("pickle", "cannot be read"), ("dicom", "r.dcm: ")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_costs_one_line(tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        read_record(damaged(tmp_path, how))
    assert "\n" not in str(error.value)


def test_a_table_without_times_takes_the_rate_that_is_given(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", phantom(), clock=False)
    assert read_record(path, 500.0).rate == 500.0
    with pytest.raises(DataError, match="expected from 20"):
        read_record(path, 1.0)


def test_rounded_times_give_the_rate_of_the_whole_table(tmp_path: Path) -> None:
    """Of steps of 2 or 3 ms none is that of 360 samples a second."""
    lines = [f"{round(1000 * i / 360)},{np.sin(i / 50):.3f}" for i in range(3601)]
    (tmp_path / "r.csv").write_text("\n".join(["time_ms,II", *lines, ""]))
    assert read_record(tmp_path / "r.csv").rate == pytest.approx(360, rel=1e-3)
    (tmp_path / "r.csv").write_text("\n".join(["time_ms,II", *lines[:50], ",0.1", *lines[51:], ""]))
    with pytest.raises(DataError, match="do not grow evenly"):
        read_record(tmp_path / "r.csv")


def test_an_archive_without_samples_costs_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", signal=np.zeros((2, 0), np.float32), leads=["I", "II"], rate=500.0)
    with pytest.raises(DataError, match="has no samples"):
        read_record(tmp_path / "r.npz")


def test_the_signals_of_a_header_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("# note\nr 2 250 10\nr.dat 16 200 16 0 0 0 0 I\nr.dat 16 200 16 0 0 0 0 II\n")
    assert companions(str(tmp_path / "r.hea")) == []
    (tmp_path / "r.dat").write_bytes(b"")
    assert companions(str(tmp_path / "r.hea")) == [str(tmp_path / "r.dat")]


def test_remarks_are_those_of_what_is_wrong() -> None:
    signal = phantom()
    assert remarks(signal, RATE, STANDARD, STANDARD, 10) == []
    one, two = STANDARD.index("I"), STANDARD.index("V2")
    spoiled = signal.copy()
    spoiled[two] = 0
    spoiled[one, 5:9] = np.nan
    spoiled[8] = np.clip(spoiled[8], -0.1, 0.1)
    found = remarks(spoiled, RATE, STANDARD, STANDARD, 3)
    expected = ["lead I: 4 missing values", "lead V2 is flat", "lead V3 is clipped", "3 beats"]
    assert [any(line.startswith(start) for line in found) for start in expected] == [True] * 4
    assert len(found) == 4
    swapped = signal[[1, 0, *range(2, 12)]]
    assert "do not fit" in " ".join(remarks(swapped, RATE, STANDARD, STANDARD, 10))
    turned = remarks(signal[::-1], RATE, STANDARD[::-1], STANDARD, 10)
    assert turned == ["leads were brought into the order of the network"]
    assert remarks(signal[[0, 1]], RATE, STANDARD[:2], ("I", "II", "III"), 9) == ["computed from other leads: III"]


def trained() -> str:
    small = "--model.length 320 --model.widths [4,4,4,4,4] --model.hidden 6 --model.batch 3 --model.epochs 1"
    data = "--data.train 3 --data.val 2 --data.test 2"
    args = f"fit --model mcf {small} {data} --trainer.max_epochs 1 --trainer.check_val_every_n_epoch 1 --run_dir run"
    assert main([*args.split(), "--quiet"]) == 0
    return "run/checkpoints/last.ckpt"


@needs_wfdb
def test_a_folder_of_records_is_answered_and_bad_ones_end_nothing(workdir: Path) -> None:
    new = Path("new")
    new.mkdir()
    signal = phantom()
    for ending in (".csv", ".npz", ".dcm", ".hea"):
        WRITERS[ending](new / f"good{ending}", signal)
    write_csv(new / "turned.csv", signal[::-1], STANDARD[::-1])
    write_csv(new / "few.csv", signal[[0, 1, *range(6, 12)]], (*STANDARD[:2], *STANDARD[6:]))
    write_csv(new / "lacking.csv", signal[:6], STANDARD[:6])
    write_csv(new / "flat.csv", 0 * signal)
    gap = signal.copy()
    gap[3, 900:1200] = np.nan
    write_csv(new / "gap.csv", gap)
    (new / "alone.hea").write_text("alone 1 250 2500\nalone.dat 16 200 16 0 0 0 0 II\n")
    write_csv(new / "brief.csv", signal[:, :300])
    (new / "notes.txt").write_text("none")
    checkpoint = trained()
    assert main(["predict", checkpoint, "new", "-o", "out", "--format", "wfdb"]) == 3
    answers = {r["id"]: r for r in json.loads(Path("out/predictions.json").read_text())["predictions"]}
    assert set(answers) == {"good.csv", "good.npz", "good", "good.hea", "turned.csv", "few.csv"}
    scores = [answers[f"good{ending}"]["score"] for ending in (".csv", ".npz", "", ".hea")]
    np.testing.assert_allclose(scores, scores[0], rtol=0.02)
    assert answers["turned.csv"]["score"] == pytest.approx(answers["good.csv"]["score"], rel=1e-4)
    assert answers["few.csv"]["score"] == pytest.approx(answers["good.csv"]["score"], rel=1e-3)
    assert answers["few.csv"]["notes"] == [
        "computed from other leads: III, aVR, aVL, aVF",
        *answers["good.csv"]["notes"],
    ]
    table = csv.DictReader(Path("out/failed.csv").read_text().splitlines())
    failed = {Path(row["path"]).name: row["problem"] for row in table}
    said = {"lacking.csv": "has no lead V1", "flat.csv": "is flat in all leads", "gap.csv": "lacks 1.20 s of lead aVR",
            "alone.hea": "names alone.dat, which is not beside it", "brief.csv": "has 1.20 s"}  # fmt: skip
    assert failed.keys() == said.keys()
    assert all(text in failed[name] for name, text in said.items())
    heat = np.loadtxt(answers["good.csv"]["scores"], delimiter=",", skiprows=1)
    assert heat.shape == (800, 13)  # 3.2 s at the record's own 250 a second
    assert Path(answers["good.csv"]["scores"]).with_suffix(".png").is_file()
    assert len(list(Path("out/wfdb").glob("*.medzoo"))) == 6
    notes = wfdb().rdann("out/wfdb/good", "medzoo")
    assert notes.fs == RATE
    assert notes.aux_note[0].startswith(f"score {answers['good']['score']:.4g}, threshold")
    assert len(notes.aux_note) == 1 + 2 * len(answers["good"]["spans"])


@needs_wfdb
def test_a_model_of_other_leads_than_the_standard_finds_them_by_name_in_records_and_in_folders(workdir: Path) -> None:
    signal = phantom()[[6, 10]]
    for folder, order in (("known", (0, 1)), ("turned", (1, 0))):
        Path(folder).mkdir()
        names = [("V1", "V5")[row] for row in order]
        kind = {"fs": RATE, "units": ["mV"] * 2, "sig_name": names, "fmt": ["16"] * 2, "write_dir": folder}
        wfdb().wrsamp("r", p_signal=signal[list(order)].T.astype(float), **kind)
        beats = twelve_leads(3, rate=RATE).beats
        wfdb().wrann("r", "atr", beats, ["N"] * len(beats), write_dir=folder)
        np.savez(f"{folder}.npz", signal=signal[list(order)], leads=np.array(names), rate=RATE)
    small = "--model.length 320 --model.widths [4,4,4,4,4] --model.hidden 6 --model.batch 3 --model.epochs 1"
    data = "--data wfdb-folder --data.root known --data.test_fraction 0.3 --data.val_fraction 0.3"
    args = f"fit --model mcf --model.leads 2 {small} {data} --trainer.max_epochs 1 --run_dir run --quiet"
    assert main(args.split()) == 0
    checkpoint = "run/checkpoints/last.ckpt"
    assert main(["predict", checkpoint, "known.npz", "turned.npz", "-o", "out"]) == 0
    known, turned = json.loads(Path("out/predictions.json").read_text())["predictions"]
    assert turned["score"] == pytest.approx(known["score"], rel=1e-5)
    assert "leads were brought into the order of the network" in turned["notes"]
    scores = []
    for folder in ("known", "turned"):
        again = (
            f"test --ckpt_path {checkpoint} --data.root {folder} --data.all_test true --run_dir {folder}-test --quiet"
        )
        assert main(again.split()) == 0
        rows = csv.DictReader(Path(f"{folder}-test/samples.csv").read_text().splitlines())
        scores.append([float(row["score"]) for row in rows])
    np.testing.assert_allclose(*scores, rtol=1e-5)


@needs_wfdb
def test_annotations_mark_what_is_abnormal_in_samples_of_the_record(tmp_path: Path) -> None:
    record: dict[str, object] = {
        "id": "ward/p 1.csv", "start": 3.4, "rate": 250.0, "score": 1.5, "threshold": 1.0, "prediction": ["pvc"],
        "spans": [{"start": 4.0, "end": 4.5, "leads": ["II", "V1"]}, {"start": 6.0, "end": 6.02, "leads": ["I"]}],
    }  # fmt: skip
    write_annotations([record], tmp_path)
    (path,) = (tmp_path / "wfdb").iterdir()
    found = wfdb().rdann(str(path.with_suffix("")), "medzoo")
    assert found.sample.tolist() == [850, 1000, 1125, 1500, 1505]
    assert set(found.symbol) == {'"'}
    assert found.aux_note == [
        "score 1.5, threshold 1; pvc", "(abnormal II V1", ")", "(abnormal I", ")",
    ]  # fmt: skip
    write_annotations([{**record, "prediction": [f"label{i}" for i in range(99)]}], tmp_path)
    (long, *_) = wfdb().rdann(str(path.with_suffix("")), "medzoo").aux_note
    assert len(long) == 250
    assert long.endswith("...")


@needs_wfdb
def test_changed_signals_of_a_header_are_answered_anew(workdir: Path) -> None:
    write_wfdb(Path("p.hea"), phantom())
    checkpoint = trained()
    for patient, changed in ((3, False), (5, True)):
        before = Path("out/predictions.json").read_text() if Path("out").exists() else ""
        write_wfdb(Path("p.hea"), phantom(patient))
        assert main(["predict", checkpoint, "p.hea", "-o", "out"]) == 0
        assert not changed or Path("out/predictions.json").read_text() != before
