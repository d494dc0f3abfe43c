"""Frames from video files, folders of pictures, single pictures and cameras, one at a time."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.recording import PICTURES, list_files
from vidaff.errors import VidaffError
from vidaff.io import check_pixels, read_image
from vidaff.media.closing import Closing

BACKENDS = ("pyav", "decord")
DEFAULT_FPS = 30.0
"""Taken for folders, pictures and cameras that do not say their rate."""
MAX_CAMERA_DIGITS = 4
LEAST_SHARE = 0.9
"""A video that ends before this share of the frames its header promises is truncated; edit lists cost a few."""
Size = tuple[int, int]


class FrameSource(Closing, ABC):
    """Frames (H, W, 3) uint8 RGB of one size, in order, each decoded when it is its turn.

    ``name`` for messages; ``fps`` frames a second as returned; ``recorded_fps`` as stored; ``size`` (height, width).
    ``len()`` works when the number of frames is known before reading, see ``length``; for a thinned video whose rate
    varies it is an estimate. Iterating again starts anew, except for cameras, and raises :class:`VidaffError` when
    frames vanish, cannot be decoded or change size.
    """

    def __init__(self, name: str, recorded_fps: float, fps: float | None, size: Size, length: int | None) -> None:
        if fps is not None and not fps > 0:
            raise VidaffError(f"{name}: fps must be positive, got {fps:g}")
        self.name = name
        self.recorded_fps = recorded_fps
        self.fps = recorded_fps if fps is None else min(fps, recorded_fps)
        self.size = size
        self.length = length if length is None or self.fps == recorded_fps else self._kept(length)
        self._thin = self.fps < recorded_fps

    def _kept(self, length: int) -> int:
        # The k-th frame is the first at or after k / fps seconds, less half a recorded frame.
        return int((length - 0.5) * self.fps / self.recorded_fps + 1e-9) + 1

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError(f"{self.name}: the number of frames is not known before reading")
        return self.length

    @abstractmethod
    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """All recorded frames with their times in seconds from the first."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return (frame for _, _, frame in self.timed())

    def timed(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """The same frames, each with its position among the recorded ones (0-based) and its time in seconds."""
        count, kept = 0, 0
        for seconds, frame in self._timed():
            if frame.shape[:2] != self.size:
                size, first = f"{frame.shape[1]}x{frame.shape[0]}", f"{self.size[1]}x{self.size[0]}"
                raise VidaffError(f"{self.name}: frame {count + 1} is {size}, the first one {first}")
            count += 1
            if self._thin and (seconds + 0.5 / self.recorded_fps) * self.fps < kept - 1e-6:
                continue
            kept += 1
            yield count - 1, seconds, frame
        if not count:
            raise VidaffError(f"{self.name}: has no frames")


class FolderFrames(FrameSource):
    """Pictures of a folder in natural order (``2.png`` before ``10.png``), or one picture."""

    def __init__(self, paths: list[Path], name: str, fps: float | None) -> None:
        self.paths = paths
        first = read_image(paths[0])
        super().__init__(name, DEFAULT_FPS, fps if len(paths) > 1 else None, first.shape[:2], len(paths))

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        for index, path in enumerate(self.paths):
            yield index / self.recorded_fps, read_image(path)


class PyAvFrames(FrameSource):
    """A video decoded by PyAV, turned upright as its rotation mark says. Times are those in the file."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self.path = path
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
            self._promised = stream.frames
            first = next(self._decode(container), None)
            if first is None:
                promise = (
                    f"none of its {self._promised} frames; the file is truncated" if self._promised else "no frames"
                )
                raise VidaffError(f"{path}: has {promise}")
            size = _upright(first).shape[:2]
        super().__init__(str(path), float(rate), fps, size, self._promised or None)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        import av

        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise VidaffError(f"{self.path}: has no video stream")
                stream = container.streams.video[0]
                check_pixels(self.path, stream.width, stream.height)
                stream.thread_type = "AUTO"
                yield container
        except av.FFmpegError as error:
            raise VidaffError(f"{self.path}: not a readable video, or truncated ({error.strerror})") from error

    def _decode(self, container: Any) -> Iterator[Any]:
        yield from container.decode(container.streams.video[0])

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        count, start = 0, None
        with self._open() as container:
            for frame in self._decode(container):
                seconds = frame.time if frame.time is not None else count / self.recorded_fps
                start = seconds if start is None else start
                count += 1
                yield seconds - start, _upright(frame)
        if count < LEAST_SHARE * self._promised:
            raise VidaffError(f"{self.path}: ends after {count} of {self._promised} frames; the file is truncated")


def _upright(frame: Any) -> np.ndarray:
    """RGB picture of a decoded frame, turned by its rotation mark (degrees counter-clockwise, in quarters)."""
    picture = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


class DecordFrames(FrameSource):
    """The same through decord."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self.path = path
        with self._errors():
            reader = self._open()
            rate, length = float(reader.get_avg_fps()) or DEFAULT_FPS, len(reader)
            if not length:
                raise VidaffError(f"{path}: has no frames")
            first = reader[0].asnumpy()
            check_pixels(path, first.shape[1], first.shape[0])
        super().__init__(str(path), rate, fps, first.shape[:2], length)

    def _open(self) -> Any:
        decord = _decord()
        return decord.VideoReader(str(self.path), ctx=decord.cpu(0), num_threads=1)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (_decord().DECORDError, RuntimeError, IndexError) as error:
            text = " ".join(str(error).split())[:200]
            raise VidaffError(f"{self.path}: not a readable video, or truncated ({text})") from error

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        with self._errors():
            reader = self._open()
        start = float(reader.get_frame_timestamp(0)[0])
        for index in range(len(reader)):
            with self._errors():
                frame = reader[index].asnumpy()
                seconds = float(reader.get_frame_timestamp(index)[0])
            yield seconds - start, frame


def _decord() -> Any:
    # OpenCV first: decord brings a zlib of its own, and with that one loaded before, OpenCV can read no PNG any more.
    import cv2  # noqa: F401

    try:
        import decord
    except ImportError as error:
        raise VidaffError("decord is not installed; use the backend 'pyav', or: pip install decord") from error
    return decord


class CameraFrames(FrameSource):
    """A camera by number; endless, so stop reading when you have enough. Close it to free the camera."""

    def __init__(self, number: int, fps: float | None) -> None:
        import cv2

        self._capture = cv2.VideoCapture(number)
        self._first = self._grab() if self._capture.isOpened() else None
        if self._first is None:
            self.close()
            raise VidaffError(f"camera {number}: cannot be opened or gives no picture; is another program using it?")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 0 < rate <= 1000 else DEFAULT_FPS
        super().__init__(f"camera {number}", rate, fps, self._first.shape[:2], None)

    def _grab(self) -> np.ndarray | None:
        import cv2

        ok, frame = self._capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if ok else None

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        frame, self._first = self._first if self._first is not None else self._grab(), None
        start = time.monotonic()
        while frame is not None:
            yield time.monotonic() - start, frame
            frame = self._grab()
        raise VidaffError(f"{self.name}: gives no more pictures")

    def close(self) -> None:
        self._capture.release()


def open_frames(source: str | Path | int, *, backend: str = "pyav", fps: float | None = None) -> FrameSource:
    """Open a video file, a folder of pictures, a single picture or, by its number, a camera.

    ``fps`` thins to that many frames a second by the frames' times (folders are taken as 30 a second); frames are
    never repeated. ``backend`` decodes videos: ``pyav`` or ``decord``. Raises :class:`VidaffError` when the source
    is missing, empty, truncated or of an unknown kind.
    """
    if backend not in BACKENDS:
        raise VidaffError(f"unknown video backend {backend!r}; known: {', '.join(BACKENDS)}")
    path = Path(str(source))
    if isinstance(source, int) or (str(source).isdecimal() and not path.exists()):
        if len(str(source)) > MAX_CAMERA_DIGITS:
            raise VidaffError(f"{source}: no such file, and no number of a camera")
        return CameraFrames(int(str(source)), fps)
    if path.is_dir():
        pictures = [file for file in list_files(path) if file.suffix.lower() in PICTURES]
        if not pictures:
            raise VidaffError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
        return FolderFrames(pictures, str(path), fps)
    if not path.is_file():
        raise VidaffError(f"{path}: no such file or folder")
    if path.suffix.lower() in PICTURES:
        return FolderFrames([path], str(path), fps)
    return DecordFrames(path, fps) if backend == "decord" else PyAvFrames(path, fps)
