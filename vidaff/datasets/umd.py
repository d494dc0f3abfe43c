"""UMD RGB-D Part Affordance: tools on a turntable, every pixel labelled with what the part affords."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np

from vidaff.datasets.base import ClipInfo
from vidaff.datasets.geometry import Size
from vidaff.datasets.matfile import read_mat
from vidaff.datasets.stills import Still, StillDataset
from vidaff.datasets.taxonomies import UMD
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.io import read_depth_image, read_image

FOLDER = "part-affordance-dataset"
PROTOCOLS = {"category": "category_split.txt", "novel": "novel_split.txt"}
SIDES = {"train": 1, "val": 2}
"""Numbers of the splits in the files of :data:`PROTOCOLS`; 2 is the official test set."""
NUM_RANKS = UMD.background
WORST_RANK = 9
"""Rank of an affordance that does not apply."""
GRID = (480, 640)
CAMERA = Intrinsics(570.3, 570.3, 320, 240)
"""Nominal camera of a 640x480 frame; the set ships none. Source: ``depthtocloud.m`` of the authors' SRFAff release."""
_PARTS = {
    (4,): "bowl", (4, 7): "cup pot", (1, 4, 7): "mug", (1, 4): "ladle", (1, 2): "knife saw scissors shears",
    (1, 3): "scoop spoon trowel", (1, 6): "shovel turner", (1, 5): "hammer mallet tenderizer",
}  # fmt: skip
CATEGORY_LABELS = {name: set(ids) for ids, names in _PARTS.items() for name in names.split()}
"""Ids on disk that occur in the labels of each category. A reading of all 28,843 frames, not a rule of the authors."""

_NUMBER = r"[0-9]{1,8}"
_TOOL = re.compile(rf"([a-z]+)_{_NUMBER}")
_FRAME = re.compile(rf"(.+)_({_NUMBER})_(rgb\.jpg|depth\.png|label\.mat|label_rank\.mat)")


class Frame(NamedTuple):
    """A frame of a tool: its number as written, and which of its files exist."""

    tool: str
    number: str
    kinds: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.tool}_{self.number}"


class Umd(StillDataset):
    """One split of UMD; the official test set is ``val``.

    On disk, ROOT being ``part-affordance-dataset`` or the folder that holds it::

        ROOT/category_split.txt, novel_split.txt      lines "1 bowl_01": 1 trains, 2 tests
        ROOT/tools/bowl_01/bowl_01_00000001_rgb.jpg         640x480
                           bowl_01_00000001_depth.png       uint16 millimetres, 0 = missing; may be absent
                           bowl_01_00000001_label.mat       gt_label (480, 640) 0..7, gt_type manual or automatic
                           bowl_01_00000001_label_rank.mat  gt_label (480, 640, 7), 1 best .. 9 not at all, 0 background

    Options: ``protocol`` ``category`` (new instances of known categories) or ``novel`` (new categories);
    ``frames`` ``all`` or ``manual`` (labelled by hand; reads every label's ``gt_type`` first);
    ``labels`` ``top`` or ``ranked``, by which ``clip.affordances`` has every affordance that applies, not the label
    alone. ``size`` and ``centre_crop``: :class:`StillDataset`. A sample is a :class:`vidaff.datasets.Clip` of one
    frame, see :mod:`vidaff.datasets.stills`; ``object`` is the tool's category. Frames without a label are left out.
    In a tree with depth, a frame whose depth file is absent has depth 0 everywhere.

    Raises :class:`VidaffError` when the split file or its tools are missing, and for UMD+GT, a relabelled set that
    looks alike on disk but means wrap-grasp by 6.

    Source: Myers et al., ICRA 2015; the set's README.
    """

    taxonomy = UMD
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "protocol": tuple(PROTOCOLS), "frames": ("all", "manual"), "labels": ("top", "ranked"),
    }  # fmt: skip

    def __init__(
        self, root: str | Path, split: str, *, size: Size | None = None, centre_crop: int | None = None, **options: Any
    ) -> None:
        self.root = find_root(Path(root))
        picked = self.pick("umd", options)
        tools = split_tools(self.root, picked["protocol"], split)
        refuse_umd_gt(self.root, tools)
        found = [frame for tool in tools for frame in list_frames(self.root, tool)]
        self.has_depth = any("depth.png" in frame.kinds for frame in found)
        self._ranked = picked["labels"] == "ranked"
        self._frames = [frame for frame in found if {"rgb.jpg", "label.mat"} <= frame.kinds]
        if picked["frames"] == "manual":
            self._frames = [frame for frame in self._frames if is_manual(self._path(frame, "label.mat"))]
        if not self._frames:
            raise VidaffError(f"{self.root / 'tools'}: none of the {len(tools)} tools of split {split!r} has a frame")
        infos = [ClipInfo(frame.name, -1, category(frame.tool), "") for frame in self._frames]
        super().__init__(infos, picked, size=size, centre_crop=centre_crop)

    def still(self, index: int) -> Still:
        frame = self._frames[index]
        path = self._path(frame, "rgb.jpg")
        rgb = read_image(path)
        grid = (rgb.shape[0], rgb.shape[1])
        affordances = applicable(self._ranks(frame, grid)) if self._ranked else None
        labels = _fitting(read_labels(self._path(frame, "label.mat")), grid, self._path(frame, "label.mat"))
        camera = CAMERA if grid == GRID else None
        return Still(rgb, self._depth(frame, grid), labels, camera, affordances)

    @property
    def has_ranks(self) -> bool:
        """Whether every frame has its ranks."""
        return all("label_rank.mat" in frame.kinds for frame in self._frames)

    def ranks(self, index: int) -> np.ndarray:
        """Ranks of the affordances on the clip's grid, (H, W, 7) uint8: 1 best, 9 not applicable, 0 background."""
        self._check_index(index)
        ranks = self._ranks(self._frames[index], None)
        return self.window((ranks.shape[0], ranks.shape[1])).nearest(ranks)

    def _ranks(self, frame: Frame, grid: Size | None) -> np.ndarray:
        path = self._path(frame, "label_rank.mat")
        ranks = read_ranks(path)
        return ranks if grid is None else _fitting(ranks, grid, path)

    def _depth(self, frame: Frame, grid: Size) -> np.ndarray | None:
        if "depth.png" not in frame.kinds:
            return np.zeros(grid, np.uint16) if self.has_depth else None
        path = self._path(frame, "depth.png")
        return _fitting(read_depth_image(path), grid, path)

    def _path(self, frame: Frame, kind: str) -> Path:
        return frame_path(self.root, frame, kind)


def find_root(root: Path) -> Path:
    """The folder with ``tools/``: ``root`` itself, or ``part-affordance-dataset`` in it."""
    for folder in (root, root / FOLDER):
        if (folder / "tools").is_dir():
            return folder
    raise VidaffError(f"{root}: has no tools/ folder; give the folder {FOLDER} of the UMD archive")


def frame_path(root: Path, frame: Frame, kind: str) -> Path:
    """File of a frame; ``kind`` is the end of its name, such as ``label.mat``."""
    return root / "tools" / frame.tool / f"{frame.name}_{kind}"


def has_bytes(path: Path) -> bool:
    """Whether a file is there and not empty; a link to nothing is neither."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def category(tool: str) -> str:
    """``knife_01`` -> ``knife``."""
    return tool.rpartition("_")[0]


def read_split(path: Path) -> dict[str, int]:
    """Tools of a split file and their numbers, 1 or 2; raise :class:`VidaffError` naming the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VidaffError(f"{path}: cannot be read; it lists the tools of each split ({error})") from error
    tools: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in ("1", "2") or not _TOOL.fullmatch(words[1]) or words[1] in tools:
            raise VidaffError(f"{path}: line {number}: '1 bowl_01' or '2 bowl_01' is expected, each once; got {line!r}")
        tools[words[1]] = int(words[0])
    return tools


def split_tools(root: Path, protocol: str, split: str) -> list[str]:
    """Tools of a split that are on disk, sorted; raise :class:`VidaffError` when there are none."""
    if split not in SIDES:
        raise VidaffError(f"umd: the splits are {' and '.join(SIDES)} (the official test set), got {split!r}")
    path = root / PROTOCOLS[protocol]
    tools = sorted(tool for tool, side in read_split(path).items() if side == SIDES[split])
    present = [tool for tool in tools if (root / "tools" / tool).is_dir()]
    if not present:
        raise VidaffError(f"{root / 'tools'}: holds none of the {len(tools)} tools of split {split!r} in {path.name}")
    return present


def list_frames(root: Path, tool: str) -> list[Frame]:
    """Frames of a tool by number, with the files that each has. Files pair by number, whatever else is missing."""
    try:
        names = os.listdir(root / "tools" / tool)
    except OSError as error:
        raise VidaffError(f"{root / 'tools' / tool}: cannot be listed ({error.strerror or error})") from error
    kinds: dict[str, set[str]] = {}
    for match in filter(None, map(_FRAME.fullmatch, names)):
        if match[1] == tool:
            kinds.setdefault(match[2], set()).add(match[3])
    return [Frame(tool, number, frozenset(kinds[number])) for number in sorted(kinds, key=int)]


def read_labels(path: Path) -> np.ndarray:
    """Most likely affordance of every pixel, (H, W) uint8 0..7, 0 background."""
    labels = _numbers(path, 2)
    if labels.max(initial=0) > UMD.background:
        raise VidaffError(f"{path}: labels 0..{UMD.background} are expected, got {labels.max()}")
    return labels


def read_ranks(path: Path) -> np.ndarray:
    """Rank of every affordance, (H, W, 7) uint8: 1 best, 9 not applicable, 0 background."""
    ranks = _numbers(path, 3)
    if ranks.shape[2] != NUM_RANKS or ranks.max(initial=0) > WORST_RANK:
        raise VidaffError(f"{path}: {NUM_RANKS} ranks 0..{WORST_RANK} a pixel are expected, got {ranks.shape}")
    return ranks


def _numbers(path: Path, axes: int) -> np.ndarray:
    """``gt_label`` of a mat as uint8; MATLAB may have written it as doubles."""
    values = read_mat(path, ("gt_label",)).get("gt_label")
    if not isinstance(values, np.ndarray) or values.ndim != axes or not values.size:
        raise VidaffError(f"{path}: has no variable gt_label with {axes} axes")
    small = values if values.dtype == np.uint8 else _as_bytes(values, path)
    # MATLAB stores by columns; for two axes OpenCV turns them several times faster than NumPy.
    return cv2.transpose(small.T) if axes == 2 else np.ascontiguousarray(small)


def _as_bytes(values: np.ndarray, path: Path) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        small = values.astype(np.uint8)
    if not np.array_equal(small, values):
        raise VidaffError(f"{path}: gt_label must hold whole numbers from 0 to 255")
    return small


def is_manual(path: Path) -> bool:
    """Whether a label was made by hand: by ``gt_type``, or for a file without it by its number (every third).

    Source: the set's README ("every third image"), which the files' ``gt_type`` contradicts for a few.
    """
    kind = read_mat(path, ("gt_type",)).get("gt_type")
    if isinstance(kind, str):
        return kind == "manual"
    match = _FRAME.fullmatch(path.name)
    return match is not None and int(match[2]) % 3 == 1


def applicable(ranks: np.ndarray) -> np.ndarray:
    """(H, W, 7) ranks -> (H, W) uint16, bit k set where affordance k has any rank but the worst."""
    return _RANKED[ranks] @ (1 << np.arange(NUM_RANKS, dtype=np.uint16))


_RANKED = np.zeros(256, np.uint16)
_RANKED[1:WORST_RANK] = 1


def refuse_umd_gt(root: Path, tools: list[str]) -> None:
    """Raise :class:`VidaffError` when a cup, mug or pot is labelled 6: support in UMD, wrap-grasp in UMD+GT.

    Source: the AffKpNet release, whose set has UMD's layout with six affordances.
    """
    for tool in tools:
        if category(tool) not in ("cup", "mug", "pot"):
            continue
        for frame in list_frames(root, tool):
            path = frame_path(root, frame, "label.mat")
            if "label.mat" not in frame.kinds or not has_bytes(path):
                continue
            if (read_labels(path) == 6).any():
                raise VidaffError(
                    f"{path}: a {category(tool)} labelled 6 (support): this is UMD+GT, where 6 means wrap-grasp; "
                    "only the original labels are read"
                )
            break


def _fitting(picture: np.ndarray, grid: Size, path: Path) -> np.ndarray:
    if picture.shape[:2] != grid:
        raise VidaffError(
            f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, its colour picture {grid[1]}x{grid[0]}"
        )
    return picture
