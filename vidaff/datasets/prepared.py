"""Prepared clips: one HDF5 file per data set, written by ``vidaff data prepare`` and read here at training speed.

Layout::

    attributes  format="vidaff-clips" version=1 dataset height width fps classes (JSON) settings (JSON) [source (JSON)]
    /train/<name>, /val/<name>
        rgb          (T, H, W, 3) uint8
        depth        (T, H, W)    uint16   millimetres, 0 = missing
        flow         (T, H, W, 3) int16    packed: 0.1 mm, -32768 = invalid
        mask         (H, W)       uint8    label of the last frame
        affordances  (H, W)       uint16   bit k: the pixel affords class k in the last frame
        attributes   action object subject name fps [fx fy cx cy]

Absent data have no dataset. Arrays with a time axis are chunked by frame, so that one frame is one read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vidaff.datasets.base import Clip, ClipDataset, ClipInfo
from vidaff.datasets.recording import natural_key
from vidaff.datasets.taxonomy import BACKGROUND, CLASSES, IGNORE
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics

FORMAT = "vidaff-clips"
VERSION = 1
ARRAYS = {
    "rgb": (np.uint8, 4),
    "depth": (np.uint16, 3),
    "flow": (np.int16, 4),
    "mask": (np.uint8, 2),
    "affordances": (np.uint16, 2),
}
"""Name -> type and number of axes."""


class PreparedClips(ClipDataset):
    """One split of a prepared file.

    Reads only the frames asked for. Safe to pickle, to fork and to spawn: every process opens the file for itself,
    on its first read. ``settings`` are those of :class:`vidaff.datasets.prepare.PrepareSettings` and of the flow;
    ``size`` is (height, width), ``fps`` frames a second. Raises :class:`VidaffError` when the file is missing,
    truncated, foreign or of another version, or has no such split.
    """

    def __init__(self, path: str | Path, split: str, *, dataset: str | None = None) -> None:
        self.path = Path(path)
        self.split = split
        self._handle: h5py.File | None = None
        self._owner = -1
        try:
            with open_prepared(self.path) as file:
                head = read_head(file, self.path)
                index = _read_index(file, split, self.path)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise VidaffError(f"{self.path}: damaged prepared file ({_short(error)})") from error
        super().__init__([info for info, _, _ in index])
        self._cameras = [camera for _, camera, _ in index]
        self._rates = [fps for _, _, fps in index]
        self.dataset, self.settings = head["dataset"], head["settings"]
        self.size: tuple[int, int] = (head["height"], head["width"])
        self.fps: float = head["fps"]
        if dataset is not None and dataset != self.dataset:
            raise VidaffError(f"{self.path}: holds clips of {self.dataset!r}, not of {dataset!r}")

    def read(self, index: int, frames: slice | None = None) -> Clip:
        info = self.info(index)
        part = slice(None) if frames is None else frames
        where = f"{self.path}: clip {info.name}"
        try:
            group = self._file()[f"{self.split}/{info.name}"]
            stored = {name: group[name] for name in group if name in ARRAYS}
            _check_arrays(stored, where)  # before reading: what does not fit may be of any size
            values = {name: array[part if array.ndim > 2 else ()] for name, array in stored.items()}
        except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
            raise VidaffError(f"{where} cannot be read ({_short(error)})") from error
        _check_values(values, where)
        arrays: dict[str, Any] = {name: values.get(name) for name in ARRAYS}
        return Clip(**vars(info), **arrays, intrinsics=self._cameras[index], fps=self._rates[index])

    def length(self, index: int) -> int:
        """Number of frames of clip ``index``, without reading them."""
        return int(self._file()[f"{self.split}/{self.name(index)}/rgb"].shape[0])

    def _file(self) -> h5py.File:
        """This process's own handle: one that crossed a fork would share its file position with the parent."""
        if self._handle is None or self._owner != os.getpid():
            self._handle, self._owner = open_prepared(self.path), os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_owner": -1}


def open_prepared(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; raise :class:`VidaffError` when it is missing, truncated or no HDF5 file."""
    if not path.is_file():
        raise VidaffError(f"{path}: no such file; write it with: vidaff data prepare NAME ROOT {path.name}")
    try:
        # No chunk is read twice, so a chunk cache would only copy.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except (OSError, RuntimeError) as error:
        raise VidaffError(f"{path}: not a readable HDF5 file, or truncated ({_short(error)})") from error


def read_head(file: h5py.File, path: Path) -> dict[str, Any]:
    """Attributes of a prepared file, checked: dataset, height, width, fps, settings."""
    attributes = file.attrs
    if attributes.get("format") != FORMAT:
        raise VidaffError(f"{path}: an HDF5 file, but not of prepared clips (format {FORMAT!r} is expected)")
    if attributes.get("version") != VERSION:
        raise VidaffError(f"{path}: version {attributes.get('version')} of the format; this vidaff reads {VERSION}")
    if tuple(json.loads(attributes["classes"])) != CLASSES:
        raise VidaffError(f"{path}: made for other classes; expected {', '.join(CLASSES)}")
    settings = json.loads(attributes["settings"])
    if not isinstance(settings, dict):
        raise ValueError("settings are no mapping")
    return {
        "dataset": str(attributes["dataset"]),
        "height": int(attributes["height"]),
        "width": int(attributes["width"]),
        "fps": _rate(attributes),
        "settings": settings,
    }


def _read_index(file: h5py.File, split: str, path: Path) -> list[tuple[ClipInfo, Intrinsics | None, float]]:
    if not isinstance(file.get(split), h5py.Group) or not len(file[split]):
        raise VidaffError(f"{path}: has no clips of split {split!r}; it holds: {', '.join(file) or 'nothing'}")
    names = sorted(file[split], key=natural_key)
    return [_read_entry(name, dict(file[split][name].attrs)) for name in names]


def _read_entry(name: str, attributes: dict[str, Any]) -> tuple[ClipInfo, Intrinsics | None, float]:
    info = ClipInfo(name, int(attributes["action"]), str(attributes["object"]), str(attributes["subject"]))
    if not -1 <= info.action < BACKGROUND:
        raise ValueError(f"clip {name}: action {info.action} is none of 0..{BACKGROUND - 1}, or -1 for unknown")
    camera = Intrinsics.from_dict(attributes) if "fx" in attributes else None
    return info, camera, _rate(attributes)


def _rate(attributes: Mapping[str, Any]) -> float:
    fps = float(attributes["fps"])
    if not 0 < fps < math.inf:
        raise ValueError(f"fps {fps:g} is no frame rate")
    return fps


def _check_arrays(stored: Mapping[str, Any], where: str) -> None:
    """Refuse arrays of another type or shape than the format says."""
    for name, array in stored.items():
        kind, axes = ARRAYS[name]
        if not isinstance(array, h5py.Dataset) or array.dtype != kind or array.ndim != axes:
            raise VidaffError(f"{where}: {name} must be {np.dtype(kind)} with {axes} axes, got {array}")
    rgb = stored.get("rgb")
    for name, array in stored.items():
        axes = array.ndim
        grid = array.shape[1:3] if axes > 2 else array.shape
        if rgb is None or grid != rgb.shape[1:3] or (axes > 2 and len(array) != len(rgb)):
            raise VidaffError(f"{where}: {name} of shape {array.shape} does not go with the frames")


def _check_values(values: dict[str, np.ndarray], where: str) -> None:
    """Refuse a selection without frames, and labels that are no class."""
    if "rgb" not in values or not len(values["rgb"]):
        raise VidaffError(f"{where}: no frames")
    mask = values.get("mask")
    if mask is not None and ((mask > BACKGROUND) & (mask != IGNORE)).any():
        raise VidaffError(f"{where}: the mask holds values other than 0..{BACKGROUND} and {IGNORE}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
