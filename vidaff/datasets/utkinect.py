"""UTKinect-Action3D: ten subjects do ten actions twice before a Kinect; clips with an action and no labelled pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidaff.datasets.base import Clip, ClipDataset, ClipInfo
from vidaff.datasets.geometry import Size, Window
from vidaff.datasets.label_text import parse_numbers, read_bytes
from vidaff.datasets.opencv_xml import read_opencv_xml
from vidaff.datasets.recording import list_files
from vidaff.datasets.sampling import pick_frames
from vidaff.errors import VidaffError
from vidaff.io import read_image

ACTIONS = (
    "walk", "sitDown", "standUp", "pickUp", "carry", "throw", "push", "pull", "waveHands", "clapHands",
)  # fmt: skip
FPS = 15.0
"""Frames a second, nominal: the numbers of files are those of a 30 Hz clock, and mostly two or four apart."""
NUM_JOINTS = 20
OFFICIAL_SEQUENCES = tuple(f"s{subject:02d}_e{run:02d}" for subject in range(1, 11) for run in (1, 2))
TRAIN_SUBJECTS = ("s01", "s02", "s03", "s04", "s05")
"""Subjects of the half split that train; s06 to s10 validate."""
PACKED_ABOVE = 10_000
"""Depth above this in any frame tells that a sequence is packed: millimetres times 8, plus the index of a person."""
_LOOKED_AT = 9
"""Depth files of a sequence, from the first to the last, that tell whether it is packed: some frames are blank."""

_SEQUENCE = re.compile(r"s[0-9]{2}_e[0-9]{2}")
_LINE = re.compile(r"(\w+)\s*:\s*(\S+)\s+(\S+)")
COLOUR_NAME = re.compile(r"colorImg([0-9]{1,9})\.(?:jpg|png)")
DEPTH_NAME = re.compile(r"depthImg([0-9]{1,9})\.xml")
_FRAME_NUMBER = re.compile(r"[0-9]{1,9}")
_LABELS = "actionLabel.txt"


class Interval(NamedTuple):
    """An action of a sequence, from one frame number to another, both counted in."""

    sequence: str
    action: str
    start: int
    end: int


class Fix(NamedTuple):
    """A line of ``actionLabel.txt`` that is not taken as it stands, and what became of it."""

    sequence: str
    action: str
    message: str


class Joints(NamedTuple):
    """Skeletons of a sequence.

    ``numbers`` (N,) of the frames, ascending, each once; ``places`` (N, 20, 3) in metres; ``repeated``: rows left out
    because their number comes again.
    """

    numbers: np.ndarray
    places: np.ndarray
    repeated: int


CORRECTIONS = {
    ("s01_e02", "walk"): ((154, 192), (154, 270), "ends too early"),
    ("s03_e01", "push"): ((2556, 3622), (3556, 3622), "wrong digit, it would begin before the actions in front of it"),
    ("s07_e01", "pull"): ((3350, 3522), (3432, 3522), "begins too early"),
    ("s07_e02", "pull"): ((2496, 2618), (2530, 2618), "begins too early"),
    ("s09_e01", "push"): ((3266, 3390), (3266, 3300), "runs into the next action"),
    ("s10_e01", "carry"): ((1394, 1846), (1394, 1676), "ends too late"),
    ("s10_e02", "pull"): ((1982, 2062), (1994, 2062), "begins within the action in front of it"),
}
"""Frames as published, as corrected, and why. Only lines that read exactly as published are changed.

Source: the copy of ``actionLabel.txt`` that users of the set have corrected. That 2556 is a wrong digit and that two
lines overlap shows in the file itself; the others we could not check without the pictures.
"""


class UTKinect(ClipDataset):
    """One split of UTKinect-Action3D: a clip is an action of a sequence.

    On disk::

        ROOT/RGB/s01_e01/colorImg252.jpg          640x480; numbers are sparse
             depth/s01_e01/depthImg252.xml        320x240 numbers in OpenCV's XML; millimetres, or those times 8
             joints/joints_s01_e01.txt            frame number and 20 times x y z in metres; numbers repeat
             actionLabel.txt                      "s01_e01", then ten lines "walk: 252 390"

    A sample is a :class:`vidaff.datasets.Clip` without mask and camera, whose ``action`` is a number of
    :data:`ACTIONS` and ``subject`` is ``s01``..``s10``. Depth (T, H, W) mm is brought to the colours' grid by nearest
    pixel, as if both cameras saw the same view (the set ships no calibration); 0 where a frame's file is missing.

    ``protocol`` is ``half`` (subjects 1 to 5 train, 6 to 10 validate) or the name of the sequence to hold out, such
    as ``s03_e01``, of the leave-one-sequence-out protocol. ``size``: (height, width), ``None`` as recorded. ``fps``
    and ``clip_length``: :func:`vidaff.datasets.sampling.pick_frames`. ``fixes`` lists the labels that were corrected
    or left out. Raises :class:`VidaffError` when the labels or all pictures of the split are missing.

    Source: Xia et al., CVPRW 2012 (the set, leave-one-sequence-out).
    """

    def __init__(
        self, root: str | Path, split: str, *, protocol: str = "half", size: Size | None = None,
        fps: float | None = 10.0, clip_length: int | None = None,
    ) -> None:  # fmt: skip
        self.root = Path(root)
        pick_frames(1, FPS, fps=fps, clip_length=clip_length)  # refuses bad values now
        self._size, self._fps, self._clip_length = size, fps, clip_length
        intervals, self.fixes = read_actions(find_labels(self.root))
        wanted = [entry for entry in intervals if in_split(entry.sequence, protocol, split)]
        sequences = sorted({entry.sequence for entry in wanted})
        self._colours = {name: list_numbered(self.root / "RGB" / name, COLOUR_NAME) for name in sequences}
        self._depths = {name: list_numbered(self.root / "depth" / name, DEPTH_NAME) for name in sequences}
        self._packed: dict[str, bool] = {}
        self._entries = [entry for entry in wanted if self._numbers(entry)]
        if not self._entries:
            raise VidaffError(f"{self.root / 'RGB'}: no colour frames of split {split!r} (RGB/s01_e01/colorImg252.jpg)")
        super().__init__([_info(entry) for entry in self._entries])

    def action_counts(self) -> dict[str, int]:
        """Number of clips per action of :data:`ACTIONS`."""
        found = [entry.action for entry in self._entries]
        return {name: found.count(name) for name in ACTIONS}

    def read(self, index: int, frames: slice | None = None) -> Clip:
        info = self.info(index)
        entry = self._entries[index]
        picked = self._picked(entry)
        wanted = picked if frames is None else picked[frames]
        if not wanted:
            raise VidaffError(f"{info.name}: frames {frames} of {len(picked)} select nothing")
        pictures = [read_image(self._colours[entry.sequence][number]) for number in wanted]
        if len({picture.shape for picture in pictures}) > 1:
            raise VidaffError(f"{self.root / 'RGB' / entry.sequence}: frames of {info.name} differ in size")
        recorded = (pictures[0].shape[0], pictures[0].shape[1])
        window = Window(0, 0, *recorded, self._size or recorded)
        depths = [self._depth(entry.sequence, number, window.size) for number in wanted]
        return Clip(
            rgb=np.stack([window.colours(picture) for picture in pictures]),  # (T, H, W, 3)
            depth=np.stack(depths) if self._depths[entry.sequence] else None,  # (T, H, W)
            flow=None, mask=None, affordances=None, intrinsics=None,
            fps=float(min(FPS, self._fps or FPS)), **vars(info),
        )  # fmt: skip

    def length(self, index: int) -> int:
        """Number of frames of clip ``index``, after sampling."""
        self._check_index(index)
        return len(self._picked(self._entries[index]))

    def frame_numbers(self, index: int) -> list[int]:
        """The recorder's numbers of the frames of clip ``index``, ascending and sparse."""
        self._check_index(index)
        return self._picked(self._entries[index])

    def joints(self, index: int) -> np.ndarray:
        """Skeleton (T, 20, 3) in metres of the frames of clip ``index``; NaN where the file has no such frame."""
        self._check_index(index)
        entry = self._entries[index]
        found = read_joints(find_joints(self.root, entry.sequence))
        rows = dict(zip(found.numbers.tolist(), found.places, strict=True))
        missing = np.full((NUM_JOINTS, 3), np.nan)
        return np.stack([rows.get(number, missing) for number in self.frame_numbers(index)])

    def _numbers(self, entry: Interval) -> list[int]:
        """Numbers of the frames that exist within an action."""
        return [number for number in self._colours[entry.sequence] if entry.start <= number <= entry.end]

    def _picked(self, entry: Interval) -> list[int]:
        numbers = self._numbers(entry)
        return [numbers[i] for i in pick_frames(len(numbers), FPS, fps=self._fps, clip_length=self._clip_length)]

    def _depth(self, sequence: str, number: int, size: Size) -> np.ndarray:
        path = self._depths[sequence].get(number)
        if path is None:
            return np.zeros(size, np.uint16)
        if sequence not in self._packed:
            self._packed[sequence] = is_packed(list(self._depths[sequence].values()))
        depth = read_opencv_xml(path) >> (3 if self._packed[sequence] else 0)
        return Window(0, 0, depth.shape[0], depth.shape[1], size).nearest(depth)


def is_packed(paths: Sequence[Path]) -> bool:
    """Whether the depth files of a sequence hold 8 times millimetres (plus a person's index in the lowest three bits).

    A room's back wall is farther than 1.25 m, and a Kinect sees no farther than 10 m. One file of several that has such
    a number decides; blank ones tell nothing, damaged ones neither, which are refused when they are read.
    """
    places = np.linspace(0, len(paths) - 1, min(len(paths), _LOOKED_AT)).round().astype(int).tolist()
    return any(_farthest(paths[place]) > PACKED_ABOVE for place in places)


def _farthest(path: Path) -> int:
    """Largest number of a depth file, 0 when it cannot be read."""
    try:
        return int(read_opencv_xml(path).max())
    except VidaffError:
        return 0


def _info(entry: Interval) -> ClipInfo:
    name = f"{entry.sequence}_{entry.action}"
    return ClipInfo(name, ACTIONS.index(entry.action), "", entry.sequence.partition("_")[0])


def in_split(sequence: str, protocol: str, split: str) -> bool:
    """Whether a sequence belongs to a split; raise :class:`VidaffError` for unknown splits and protocols."""
    if split not in ("train", "val"):
        raise VidaffError(f"utkinect: the splits are train and val, got {split!r}")
    if protocol == "half":
        return (sequence[:3] in TRAIN_SUBJECTS) == (split == "train")
    if protocol not in OFFICIAL_SEQUENCES:
        raise VidaffError(f"utkinect: protocol is 'half' or a sequence to hold out such as 's03_e01', got {protocol!r}")
    return (sequence == protocol) == (split == "val")


def find_labels(root: Path) -> Path:
    """``actionLabel.txt`` in ``root`` or in its ``joints/``."""
    for path in (root / _LABELS, root / "joints" / _LABELS):
        if path.is_file():
            return path
    raise VidaffError(f"{root}: has no {_LABELS}; expected ROOT/{_LABELS}, ROOT/RGB, ROOT/depth, ROOT/joints")


def find_joints(root: Path, sequence: str) -> Path:
    """Joints of a sequence in ``joints/`` or in ``root``."""
    name = f"joints_{sequence}.txt"
    return root / "joints" / name if (root / "joints" / name).is_file() else root / name


def read_actions(path: Path) -> tuple[list[Interval], list[Fix]]:
    """Actions of every sequence, in the order of the file, and what had to be corrected.

    Double blanks, blanks at the end and empty lines do not matter. Lines of :data:`CORRECTIONS` are corrected; lines
    without frame numbers, or that end before they begin, are left out. Raises :class:`VidaffError` naming any other
    line that is wrong.
    """
    try:
        lines = read_bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise VidaffError(f"{path}: a text in UTF-8 is expected") from error
    intervals: dict[tuple[str, str], Interval] = {}
    fixes: list[Fix] = []
    sequence = ""
    for number, line in enumerate(map(str.strip, lines), start=1):
        match = _LINE.fullmatch(line)
        if _SEQUENCE.fullmatch(line):
            sequence = line
        elif match and sequence and match[1] in ACTIONS and (sequence, match[1]) not in intervals:
            found, fix = _interval(sequence, match[1], match[2], match[3])
            fixes += [Fix(sequence, match[1], fix)] if fix else []
            if found is not None:
                intervals[sequence, match[1]] = found
        elif line:
            raise VidaffError(
                f"{path}: line {number}: 's01_e01', or one of its actions once ('walk: 252 390'), is expected; "
                f"got {line!r:.60}"
            )
    return list(intervals.values()), fixes


def _interval(sequence: str, action: str, first: str, last: str) -> tuple[Interval | None, str]:
    """An action's frames, ``None`` when there are none, and what was wrong, if anything."""
    if not (_FRAME_NUMBER.fullmatch(first) and _FRAME_NUMBER.fullmatch(last)):
        return None, f"frames {first} to {last} are no numbers; left out"
    start, end = int(first), int(last)
    published, corrected, reason = CORRECTIONS.get((sequence, action), ((-1, -1), (0, 0), ""))
    if (start, end) == published:
        return Interval(sequence, action, *corrected), f"frames {start} to {end}: {reason}; {corrected} taken"
    if end < start:
        return None, f"frames {start} to {end} end before they begin; left out"
    return Interval(sequence, action, start, end), ""


def read_joints(path: Path) -> Joints:
    """Joints of a sequence; of repeated frame numbers the last row counts."""
    rows = parse_numbers(read_bytes(path), path)
    if rows.shape[1] != 1 + 3 * NUM_JOINTS:
        raise VidaffError(f"{path}: {1 + 3 * NUM_JOINTS} columns are expected, got {rows.shape[1]}")
    last = {int(row[0]): row[1:] for row in rows}
    numbers = sorted(last)
    places = np.stack([last[number] for number in numbers]).reshape(-1, NUM_JOINTS, 3)
    return Joints(np.array(numbers), places, len(rows) - len(last))


def list_numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Files of a folder by the number in their names, ascending; empty when there is no such folder."""
    files = list_files(folder) if folder.is_dir() else []
    found = {int(match[1]): path for path in files if (match := pattern.fullmatch(path.name))}
    return dict(sorted(found.items()))
