"""Videos out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from vidaff.errors import VidaffError
from vidaff.io import atomic_path
from vidaff.media.frames import Size


class VideoWriter:
    """Writes an MP4 (H.264, yuv420p, plays in browsers); the file appears when all is written, or not at all.

    ``size`` is (height, width) of the frames given to :meth:`write`; odd sizes are padded by one row or column,
    because H.264 stores colour at half size. ``crf`` is the quality: lower is better, 18 looks lossless.
    """

    def __init__(self, path: str | Path, fps: float, size: Size, *, crf: int = 21) -> None:
        if not 0 < fps <= 1000 or min(size) < 2:
            raise VidaffError(f"{path}: a video needs a positive frame rate and size, got {fps:g} and {size}")
        self.path = Path(path)
        self.size = size
        self.count = 0
        self._closed = False
        with self._one_line(), contextlib.ExitStack() as stack:
            self._container, self._stream = self._open(stack, fps, crf)
            self._stack = stack.pop_all()

    def _open(self, stack: contextlib.ExitStack, fps: float, crf: int) -> tuple[Any, Any]:
        import av

        temporary = stack.enter_context(atomic_path(self.path))
        # faststart puts the index in front, so that browsers can begin before the whole file is there.
        container = stack.enter_context(av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}))
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = self.size[0] + self.size[0] % 2, self.size[1] + self.size[1] % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        return container, stream

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (H, W, 3) uint8 RGB of the writer's size."""
        import av

        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise VidaffError(f"{self.path}: frames must be {(*self.size, 3)} uint8, got {frame.shape} {frame.dtype}")
        odd = ((0, self.size[0] % 2), (0, self.size[1] % 2), (0, 0))
        padded = np.pad(frame, odd, mode="edge") if any(map(max, odd)) else np.ascontiguousarray(frame)
        with self._one_line():
            self._encode(av.VideoFrame.from_ndarray(padded, format="rgb24"))
        self.count += 1

    def _encode(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn the encoder's errors (a full disk, as a rule) into one line."""
        import av

        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise VidaffError(f"{self.path}: the video cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """Finish the file; raise :class:`VidaffError` when no frame was written. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        # The file is renamed when the stack ends without an error, so an error here leaves nothing behind.
        with self._one_line(), self._stack:
            if not self.count:
                raise VidaffError(f"{self.path}: no frames were written")
            self._encode(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._closed = True
            self._stack.__exit__(kind, error, trace)
