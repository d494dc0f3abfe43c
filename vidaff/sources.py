"""What ``vidaff infer`` can read, all brought to one form: a stream of RGB frames with or without depth.

One frame is in memory at a time, whatever the length of the source.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vidaff.datasets import SPLITS
from vidaff.datasets.calibration import read_calibration
from vidaff.datasets.geometry import Geometry
from vidaff.datasets.own_clips import read_sheet
from vidaff.datasets.prepared import PreparedClips, open_prepared
from vidaff.datasets.prepared_stills import PreparedStills, open_any
from vidaff.datasets.reader import RecordingReader
from vidaff.datasets.recording import PICTURES, Recording, parse_name, scan_own, scan_sor3d
from vidaff.datasets.sampling import frames_at
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.frames import wxh
from vidaff.media import DepthSource, open_depth, open_frames
from vidaff.media.frames import DEFAULT_FPS

PREPARED = (".h5", ".hdf5")
Frame = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class SourceSettings:
    """Which source, and how it is read.

    source: path or camera number. clip: name within a prepared file. depth: folder or file with depth beside plain
    frames. depth_scale: its units per metre (None: integers are millimetres, floats metres). calibration: YAML that
    maps a Kinect's colours to its depth grid, for recording folders. fps: frames a second that are kept, 0 = all.
    max_frames: stop after so many kept frames. backend: video reader.
    """

    source: str
    clip: str | None = None
    depth: str | None = None
    depth_scale: float | None = None
    calibration: str | None = None
    fps: float = 10.0
    max_frames: int | None = None
    backend: str = "pyav"


@dataclass(frozen=True)
class SourceFrame:
    """One frame: its position in the source (0-based), its time in seconds, (H, W, 3) uint8, (H, W) depth or None.

    Integer depth is millimetres, float depth metres.
    """

    index: int
    time: float
    rgb: np.ndarray
    depth: np.ndarray | None


class Source(ABC):
    """An opened source. Iterating gives the kept frames in order, each read when it is its turn.

    fps: frames a second that are kept. count: how many there are, None where it is not known. camera: intrinsics of
    the frames' pixel grid, where known. notes: what had to be assumed, for the user. Iterating raises
    :class:`VidaffError` where the source is damaged or its frames change size.
    """

    has_depth = False
    is_picture = False
    is_live = False

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.source
        self.max_frames = settings.max_frames
        self.wanted_fps = settings.fps or None
        self.camera: Intrinsics | None = None
        self.notes: list[str] = []

    @property
    @abstractmethod
    def fps(self) -> float:
        """Frames a second that are kept."""

    @abstractmethod
    def length(self) -> int | None:
        """Number of frames that :meth:`read` gives, None where it is not known."""

    @abstractmethod
    def read(self) -> Iterator[SourceFrame]:
        """Frames at :attr:`fps`, all of them."""

    @property
    def count(self) -> int | None:
        """Number of frames that iterating gives, None where it is not known."""
        known = self.length()
        return known if self.max_frames is None else min(self.max_frames, known or self.max_frames)

    def __iter__(self) -> Iterator[SourceFrame]:
        return islice(self.read(), self.max_frames)


class NumberedSource(Source):
    """A source whose frames are read by number; thinned as the data sets are, but counted from the first frame."""

    recorded_fps = DEFAULT_FPS
    recorded_length = 0

    @property
    def fps(self) -> float:
        return min(self.recorded_fps, self.wanted_fps or self.recorded_fps)

    def length(self) -> int:
        return len(self._numbers())

    def read(self) -> Iterator[SourceFrame]:
        for number in self._numbers():
            yield SourceFrame(number, number / self.recorded_fps, *self.frame(number))

    def _numbers(self) -> list[int]:
        picked = frames_at(self.recorded_length, self.recorded_fps, self.wanted_fps)
        return [number - picked[0] for number in picked]

    @abstractmethod
    def frame(self, number: int) -> Frame:
        """Colours (H, W, 3) uint8 and depth (H, W) or None of a recorded frame."""


class RecordingSource(NumberedSource):
    """A folder with ``rgb/``: an own clip, or a recording in SOR3D-AFF's layout."""

    def __init__(self, folder: Path, settings: SourceSettings) -> None:
        super().__init__(settings)
        self.recording = scan_any(folder)
        self.recorded_length = len(self.recording.frames)
        self.recorded_fps = self.recording.fps or DEFAULT_FPS
        if self.recording.fps is None:
            self.notes.append(_assumed_rate(self.name, self.wanted_fps))
        calibration = read_calibration(settings.calibration) if settings.calibration else None
        geometry = Geometry("aligned" if calibration else "resize", None, calibration)
        self._reader = RecordingReader(self.recording, geometry, scaled_depth=True)
        self.has_depth = self.recording.depth is not None
        self.frame(0)  # fixes the grid to which the camera belongs, and fails early
        self.camera = self._reader.intrinsics()

    def frame(self, number: int) -> Frame:
        rgb, depth = self._reader.frames([number])
        return rgb[0], None if depth is None else depth[0]


class PreparedSource(NumberedSource):
    """One clip of a prepared file; its flow is computed anew, as for any other source."""

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        super().__init__(settings)
        self.clips, self.index = find_clip(path, settings.clip)
        first = self.clips.read(self.index, slice(0, 1))
        self.name = f"{path}: {first.name}"
        self.recorded_fps, self.recorded_length = first.fps, self.clips.length(self.index)
        self.camera, self.has_depth = first.intrinsics, first.depth is not None
        self.is_picture = isinstance(self.clips, PreparedStills)

    def frame(self, number: int) -> Frame:
        clip = self.clips.read(self.index, slice(number, number + 1))
        return clip.rgb[0], None if clip.depth is None else clip.depth[0]


class MediaSource(Source):
    """A video, a folder of pictures, a picture or a camera; depth beside it where it is given."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        path = Path(settings.source)
        self._frames = open_frames(settings.source, backend=settings.backend, fps=self.wanted_fps)
        self.is_live = not path.exists()
        self.is_picture = path.is_file() and path.suffix.lower() in PICTURES
        if path.is_dir():
            self.notes.append(_assumed_rate(self.name, self.wanted_fps))
        self._scale = settings.depth_scale
        self._depth = open_depth(settings.depth) if settings.depth else None
        self.has_depth = self._depth is not None
        if self._depth is not None:
            self._check_depth(self._depth, path)

    @property
    def fps(self) -> float:
        return self._frames.fps

    def length(self) -> int | None:
        return self._frames.length

    def read(self) -> Iterator[SourceFrame]:
        with self._frames as frames:
            for index, seconds, rgb in frames.timed():
                yield SourceFrame(index, seconds, rgb, self._depth_of(index))

    def _depth_of(self, index: int) -> np.ndarray | None:
        if self._depth is None:
            return None
        depth = self._depth.read(index)
        # Metres from here on: the scale is the user's word on the unit.
        return depth if self._scale is None else depth.astype(np.float32) / np.float32(self._scale)

    def _check_depth(self, depth: DepthSource, path: Path) -> None:
        if self.is_live:
            raise VidaffError(f"{self.name}: stored depth does not go with a live camera; leave --depth out")
        if depth.size != self._frames.size:
            raise VidaffError(
                f"{depth.name}: depth is {wxh(depth.size)}, the frames are {wxh(self._frames.size)}; "
                "register it to the colour picture's pixel grid first"
            )
        recorded = open_frames(path).length if path.is_dir() else None
        if recorded is not None and recorded != len(depth):
            raise VidaffError(f"{depth.name}: {len(depth)} depth frames for {recorded} frames of {self.name}")


def open_source(settings: SourceSettings) -> Source:
    """Open whatever ``settings.source`` names; raise :class:`VidaffError` when it is missing or not understood."""
    path = Path(settings.source)
    if not path.exists() and not settings.source.isdecimal():
        raise VidaffError(f"{path}: no such file or folder (a camera is given by its number, such as 0)")
    prepared, recording = path.suffix.lower() in PREPARED, (path / "rgb").is_dir()
    for given, fits, option, whose in (
        (settings.clip, prepared, "--clip", "a prepared file (.h5)"),
        (settings.calibration, recording, "--calibration", "a recording folder (rgb/ and depth/)"),
        (settings.depth, not (prepared or recording), "--depth", "plain frames; this source brings its own"),
    ):
        if given is not None and not fits:
            raise VidaffError(f"{path}: {option} belongs to {whose}")
    if recording:
        return RecordingSource(path, settings)
    if prepared:
        return PreparedSource(path, settings)
    if path.is_dir() and ((path / "train").is_dir() or (path / "val").is_dir()):
        raise VidaffError(f"{path}: a whole data set; name one recording of it, such as {path}/val/NAME")
    return MediaSource(settings)


def scan_any(folder: Path) -> Recording:
    """A recording in SOR3D-AFF's layout where its name and extra files say so, else an own clip."""
    extras = [path for path in (folder / "rgb").iterdir() if "_mask" in path.name]
    if re.match(r"Subject[0-9]+_", folder.name) and extras:
        return scan_sor3d(folder, parse_name(folder.name))
    sheet = read_sheet(folder)
    return scan_own(folder, sheet.info, sheet.camera, sheet.fps)


def find_clip(path: Path, name: str | None) -> tuple[PreparedClips, int]:
    """The clip called ``name`` in either split of a prepared file; without a name, the only one there is."""
    with open_prepared(path) as file:
        splits = [split for split in SPLITS if split in file]
    parts = [open_any(path, split) for split in splits]
    known = [(part, index) for part in parts for index in range(len(part))]
    found = [(part, index) for part, index in known if name is None or part.name(index) == name]
    if found and (name is not None or len(found) == 1):
        return found[0]
    if not known:
        raise VidaffError(f"{path}: holds no clips")
    examples = ", ".join(part.name(index) for part, index in known[-3:])
    what = f"no clip {name!r}" if name is not None else f"holds {len(found)} clips"
    raise VidaffError(f"{path}: {what}; choose one by --clip NAME, for example {examples}")


def _assumed_rate(name: str, wanted: float | None) -> str:
    thinned = wanted is not None and wanted < DEFAULT_FPS
    use = f"{wanted:g} of them are used; --fps 0 uses every frame" if thinned else "all are used"
    return f"{name}: no frame rate given, {DEFAULT_FPS:g} a second assumed, {use}"
