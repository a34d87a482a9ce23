"""Clips from folders, AVI, MP4 and DICOM: what is read, what headers refuse before a pixel is decoded."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medzoo.core.errors import DataError
from medzoo.core.io import clips
from medzoo.core.io.clips import clip_header, read_clip

Frames = NDArray[np.uint8]


def drawn(frames: int = 6, height: int = 32, width: int = 48) -> Frames:
    """A bright bar that falls over a slope."""
    out = np.zeros((frames, height, width), np.uint8)
    out[:] = np.linspace(40, 160, width, dtype=np.uint8)
    for number, frame in enumerate(out):
        frame[4 * number : 4 * number + 4] = 220
    return out


def video(path: Path, frames: Frames, codec: str = "mjpeg", rate: int = 25, **options: str) -> Path:
    av = pytest.importorskip("av", reason='pip install "medzoo-core[video]"')
    kind = {"mjpeg": "yuvj420p", "rawvideo": "gray", "mpeg4": "yuv420p"}[codec]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], kind
        stream.options = options
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format=kind)))
        file.mux(stream.encode())
    return path


def dicom(path: Path, frames: Frames, **attributes: Any) -> Path:
    pydicom = pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape[:3]
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if frames.ndim == 4 else (1, "MONOCHROME2")
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.PlanarConfiguration, data.Modality = 7, 0, 0, "US"
    for name, value in attributes.items():
        setattr(data, name, value)
    data.PixelData = frames.tobytes()
    pydicom.dcmwrite(path, data)
    return path


def test_frames_that_are_numbered_without_leading_zeros_follow_each_other_by_number(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(tmp_path / f"f{number}_0.{number}.png")
    assert read_clip(tmp_path)[1][:, 0, 0].tolist() == [20 * number for number in range(12)]


@pytest.mark.parametrize(
    ("name", "codec", "within"), [("a.avi", "mjpeg", 30.0), ("a.avi", "rawvideo", 1.0), ("a.mp4", "mpeg4", 40.0)]
)
def test_a_video_has_the_frames_that_were_written(tmp_path: Path, name: str, codec: str, within: float) -> None:
    """To what the coding loses: every frame its own, black and white where they were."""
    frames = drawn()
    header, found = read_clip(video(tmp_path / name, frames, codec, qscale="1"))
    assert (header.size, header.frames, header.rate) == ((48, 32), 6, 25.0)
    assert all(map(math.isnan, header.spacing))
    off = np.abs(found.astype(float) - frames)
    assert off.max() <= within
    assert off.mean() < 3
    assert clip_header(tmp_path / name).frames == 6


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    frames = drawn(3)
    for name, frame in zip(("b", "a", "c"), frames, strict=True):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    header, found = read_clip(tmp_path)
    assert np.array_equal(found, frames[[1, 0, 2]])
    assert (header.size, header.frames) == ((48, 32), 3)


def test_dicom_has_its_rate_and_spacing_and_colour_becomes_luminance(tmp_path: Path) -> None:
    frames = drawn()
    header, found = read_clip(dicom(tmp_path / "a.dcm", frames, FrameTime="40", PixelSpacing=[0.3, 0.2]))
    assert np.array_equal(found, frames)
    assert (header.size, header.frames, header.rate, header.spacing) == ((48, 32), 6, 25.0, (0.2, 0.3))
    red = np.zeros((*frames.shape, 3), np.uint8)
    red[..., 0] = frames
    _, found = read_clip(dicom(tmp_path / "b.dcm", red, CineRate="30"))
    assert np.abs(found - 0.299 * frames).max() <= 0.51
    assert clip_header(tmp_path / "b.dcm").rate == 30


@pytest.mark.parametrize(
    ("deltas", "units", "spacing"),
    [
        ([(0.02, 0.03)], 3, (0.2, 0.3)),
        ([(0.02, -0.03), (0.02, 0.03)], 3, (0.2, 0.3)),
        ([(0.02, 0.03), (0.04, 0.03)], 3, None),  # two scales in one picture
        ([(0.02, 0.03)], 4, None),  # seconds
    ],
)
def test_ultrasound_gives_its_spacing_by_regions(
    tmp_path: Path, deltas: list[tuple[float, float]], units: int, spacing: tuple[float, float] | None
) -> None:
    pydicom = pytest.importorskip("pydicom")
    regions = []
    for x, y in deltas:
        region = pydicom.Dataset()
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = units
        region.PhysicalDeltaX, region.PhysicalDeltaY = x, y
        regions.append(region)
    found = clip_header(dicom(tmp_path / "a.dcm", drawn(), SequenceOfUltrasoundRegions=regions)).spacing
    assert all(map(math.isnan, found)) if spacing is None else found == pytest.approx(spacing)


def cut(keep: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return damage


def end_in_noise(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
@pytest.mark.parametrize("damage", [cut(0.6), cut(0.02), end_in_noise, lambda path: path.write_bytes(b"")])
def test_a_damaged_video_costs_one_line(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = video(tmp_path / name, drawn(20), "mjpeg" if name == "a.avi" else "mpeg4")
    damage(path)
    with pytest.raises(DataError, match=name) as caught:
        read_clip(path)
    assert "\n" not in str(caught.value)


def test_a_cut_video_is_refused_by_its_header(tmp_path: Path) -> None:
    for name in ("a.avi", "a.mp4"):
        path = video(tmp_path / name, drawn(20), "mjpeg" if name == "a.avi" else "mpeg4")
        cut(0.9)(path)
        with pytest.raises(DataError, match="cut short"):
            clip_header(path)


def test_a_video_without_a_first_key_frame_is_refused_by_its_header(tmp_path: Path) -> None:
    """What a recorder leaves that was started in the middle of a group of pictures."""
    av = pytest.importorskip("av")
    whole = video(tmp_path / "whole.avi", drawn(12), "mpeg4", g="12")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "late.avi"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number and packet.size:
                packet.stream, packet.dts, packet.pts = stream, number - 1, number - 1
                target.mux(packet)
    with pytest.raises(DataError, match="no key frame"):
        clip_header(tmp_path / "late.avi")


def test_one_frame_and_too_many_pixels_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all kinds; a header that claims more than the file holds costs no memory."""
    Image.fromarray(drawn()[0]).save(tmp_path / "0.png")
    for path in (video(tmp_path / "a.avi", drawn(1)), dicom(tmp_path / "a.dcm", drawn(1)), tmp_path):
        with pytest.raises(DataError, match="has 1 frames, expected 2 to 4096"):
            read_clip(path)
    with pytest.raises(DataError, match="cut short or claims too much"):
        clip_header(dicom(tmp_path / "b.dcm", drawn(), NumberOfFrames=4000))
    monkeypatch.setattr(clips, "MOST_PIXELS", 6 * 32 * 48 - 1)
    for path in (video(tmp_path / "c.avi", drawn()), dicom(tmp_path / "c.dcm", drawn())):
        with pytest.raises(DataError, match="more than 9215 pixels in all"):
            read_clip(path)


def test_another_file_and_an_empty_folder_cost_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has 0 pictures"):
        clip_header(tmp_path / "empty")
    (tmp_path / "a.txt").write_text("no clip")
    with pytest.raises(DataError, match="is no clip"):
        clip_header(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"gone\.avi"):
        clip_header(tmp_path / "gone.avi")


def test_a_playlist_in_the_clothes_of_a_video_leads_nowhere(tmp_path: Path) -> None:
    """Some containers are lists of other files: the name decides on the container, and these are not among them."""
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    (tmp_path / "a.avi").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    for name in ("a.mp4", "a.avi"):
        with pytest.raises(DataError, match=name):
            clip_header(tmp_path / name)


def test_without_pyav_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.avi").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r'pip install "medzoo-core\[video\]"'):
        clip_header(tmp_path / "a.avi")
