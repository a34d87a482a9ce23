"""AVI and MP4 through the optional package PyAV; the name fixes the container, so that no file leads to others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.types import DAMAGED

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_AGAIN = "write it again, such as with: ffmpeg -i FILE -c:v mjpeg -q:v 2 OUT.avi"
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601


def header_of_video(path: str) -> tuple[tuple[int, int], int, float]:
    """Return width and height, how many frames the file claims, and their rate.

    Raises:
        DataError: PyAV is missing, the file is cut short, has no video, does not say how long it is, or does not begin
            with a frame that is whole by itself.
    """
    with _opened(path) as container:
        stream = _stream(path, container)
        size, frames = (stream.width, stream.height), int(stream.frames)
        if min(size) < 1 or frames < 1:
            raise DataError(path, f"claims {frames} frames of {size[0]} × {size[1]} pixels", _AGAIN)
        first = next(iter(container.demux(stream)), None)
        if first is None or not first.size:
            raise DataError(path, "holds no frame", DAMAGED)
        if not first.is_keyframe:
            raise DataError(path, "begins with a frame that needs others before it (no key frame)", _AGAIN)
        return size, frames, float(stream.average_rate) if stream.average_rate else float("nan")


def decode_video(path: str, out: NDArray[np.uint8]) -> None:
    """Decode all frames into `out`, `(T, H, W)`, one in memory at a time.

    Raises:
        DataError: One cannot be decoded, has another size, or there are fewer or more than the header says.
    """
    height, width = out.shape[1:]
    with _opened(path) as container:
        stream = _stream(path, container)
        most = width * height + 2**20  # decoders pad frames; larger ones are refused before there is room for them
        stream.codec_context.options = {"max_pixels": str(most)}
        stream.codec_context.thread_count = 1
        count = 0
        for frame in container.decode(stream):
            if (frame.width, frame.height) != (width, height):
                problem = f"has a frame of {frame.width} × {frame.height}, its header says {width} × {height}"
                raise DataError(path, problem, DAMAGED)
            if count < len(out):
                out[count] = np.rint(frame.to_ndarray(format="rgb24") @ _LUMINANCE)
            count += 1
            if count > len(out):
                break
    if count != len(out):
        problem = f"holds {count if count < len(out) else 'more'} frames, its header says {len(out)}"
        raise DataError(path, problem, DAMAGED)


def _opened(path: str) -> InputContainer:
    try:
        import av
    except ImportError as error:
        raise DataError(path, "is a video, which needs PyAV", 'run: pip install "medzoo-core[video]"') from error
    kind = "avi" if path.lower().endswith(".avi") else "mov"
    if (claimed := _claimed_bytes(path, kind)) > os.path.getsize(path):
        raise DataError(path, f"is cut short: {os.path.getsize(path)} of {claimed} bytes", DAMAGED)
    container: InputContainer = av.open(path, format=kind, options={"protocol_whitelist": "file"})
    return container


def _stream(path: str, container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise DataError(path, "holds no video", "give the file of the clip")
    return container.streams.video[0]


def _claimed_bytes(path: str, kind: str) -> int:
    """Return how long the file is by the sizes of its outermost parts; those that say nothing count as 0."""
    with open(path, "rb") as file:
        if kind == "avi":
            head = file.read(8)
            return 8 + int.from_bytes(head[4:], "little") if head[:4] == b"RIFF" else 0
        place, end = 0, os.path.getsize(path)
        for _ in range(1000):  # boxes of ISO 14496-12; a file has a handful
            if place + 8 > end:
                break
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            if length < 8:  # 0 is up to the end of the file
                break
            place += length
        return place
