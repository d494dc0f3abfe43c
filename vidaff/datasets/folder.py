"""Clips read from folders of pictures: the part that the real tree and own clips share."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from vidaff.datasets.base import Clip, ClipDataset, ClipInfo
from vidaff.datasets.calibration import read_calibration
from vidaff.datasets.geometry import Geometry, Size
from vidaff.datasets.reader import RecordingReader
from vidaff.datasets.recording import Recording
from vidaff.datasets.sampling import pick_frames
from vidaff.errors import VidaffError


def require_folder(root: Path) -> None:
    """Raise :class:`VidaffError` when there is no folder of that name; a file is told from nothing at all."""
    if root.is_file():
        raise VidaffError(
            f"{root}: is a file; the folder of a data set's recordings is expected (what a prepared file holds is told "
            "by: vidaff data info FILE)"
        )
    if not root.is_dir():
        raise VidaffError(f"{root}: no such folder")


class FolderClips(ClipDataset):
    """Reads recordings: sampling, colours, depth, exact flow, labels, all on one pixel grid.

    ``size`` is (height, width) of the returned grid; ``None`` keeps the recorded window. ``geometry``, ``calibration``
    and ``centre_crop``: see :mod:`vidaff.datasets.geometry`. ``fps``, ``clip_length`` and ``frame_rule``: see
    :func:`vidaff.datasets.sampling.pick_frames`. ``exact_flow`` reads the stored ground-truth flow (synthetic clips).
    """

    default_fps = 30.0
    scaled_depth = False
    """Whether depth of another size but the same field of view is taken (phones); else equal sizes are required."""

    def __init__(
        self,
        infos: list[ClipInfo],
        folders: list[Path],
        *,
        size: Size | None = None,
        geometry: str = "resize",
        calibration: str | Path | None = None,
        centre_crop: int | None = None,
        fps: float | None = 10.0,
        clip_length: int | None = None,
        frame_rule: str = "fps",
        all_labels: bool = False,
        black_is_ignore: bool = False,
        exact_flow: bool = False,
    ) -> None:
        super().__init__(infos)
        known = read_calibration(calibration) if calibration is not None else None
        self.geometry = Geometry(geometry, size, known, centre_crop)
        self._folders = folders
        pick_frames(1, self.default_fps, fps=fps, clip_length=clip_length, rule=frame_rule)  # refuses bad values now
        self._fps = fps
        self._clip_length = clip_length
        self._frame_rule = frame_rule
        self._all_labels = all_labels
        self._black_is_ignore = black_is_ignore
        self._exact_flow = exact_flow

    @abstractmethod
    def recording(self, index: int) -> Recording:
        """Files of recording ``index``; raise :class:`VidaffError` when the folder is not as it should be."""

    def read(self, index: int, frames: slice | None = None) -> Clip:
        self._check_index(index)
        recording = self.recording(index)
        fps = recording.fps or self.default_fps
        picked = self._picked(recording)
        wanted = picked if frames is None else picked[frames]
        if not wanted:
            raise VidaffError(f"{recording.folder}: frames {frames} of {len(picked)} select nothing")
        reader = RecordingReader(recording, self.geometry, scaled_depth=self.scaled_depth)
        rgb, depth = reader.frames(wanted)  # (T, H, W, 3), (T, H, W)
        action = None if self._all_labels or recording.info.action < 0 else recording.info.action
        return Clip(
            rgb=rgb,
            depth=depth,
            flow=reader.flow(wanted, picked) if self._exact_flow else None,
            mask=reader.mask(action, black_is_ignore=self._black_is_ignore),
            affordances=reader.affordances(),
            intrinsics=reader.intrinsics(),
            fps=float(min(fps, self._fps or fps)),
            **vars(recording.info),
        )

    def length(self, index: int) -> int:
        """Number of frames of clip ``index``, after sampling."""
        return len(self._picked(self.recording(index)))

    def _picked(self, recording: Recording) -> list[int]:
        return pick_frames(
            len(recording.frames),
            recording.fps or self.default_fps,
            fps=self._fps,
            clip_length=self._clip_length,
            rule=self._frame_rule,
        )
