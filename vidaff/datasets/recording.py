"""One recording on disk: which files it has, checked by name, before any pixel is read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from vidaff.datasets.base import ClipInfo
from vidaff.datasets.calibration import Camera, read_camera
from vidaff.datasets.taxonomy import affordance_id, object_id
from vidaff.errors import VidaffError
from vidaff.io import read_json

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff")
EXTRAS = 4
"""Files beside the colour frames in ``rgb/``: mask, two that nobody reads, hotspot."""

_SUBJECT = re.compile(r"Subject[0-9]+")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Recording:
    """Files of one recording, frames in time order; what is absent is ``None``.

    ``depth``, ``parts`` and ``flow`` are folders (``flow`` may be one ``.npz`` file) whose files carry the frames'
    numbers. ``camera`` belongs to the depth grid. ``fps`` is ``None`` when the recording does not say.
    """

    info: ClipInfo
    folder: Path
    frames: list[Path]
    mask: Path | None
    hotspot: Path | None
    depth: Path | None
    flow: Path | None
    parts: Path | None
    camera: Camera | None
    fps: float | None

    def beside(self, folder: Path, frame: int, suffixes: tuple[str, ...] = PICTURES) -> Path:
        """File of ``folder`` that belongs to frame ``frame``: the same stem as the colour frame."""
        stem = self.frames[frame].stem
        for suffix in suffixes:
            path = folder / f"{stem}{suffix}"
            if path.exists():
                return path
        raise VidaffError(f"{folder}: no file for frame {stem} (looked for {stem}{suffixes[0]} and alike)")


def parse_name(name: str) -> ClipInfo:
    """Read subject, action and object from ``Subject<N>_<action>_..._<object>``; unknown names are errors.

    Source: STCAE release, ``data/dataloader.py``, where an unknown action silently became background.
    """
    parts = name.split("_")
    if len(parts) < 3 or not _SUBJECT.fullmatch(parts[0]):
        raise VidaffError(f"recording {name!r} is not named Subject<N>_<action>_..._<object>")
    where = f"recording {name!r}"
    action = affordance_id(parts[1], where=where)
    object_id(parts[-1], where=where)
    return ClipInfo(name, action, parts[-1], parts[0])


def list_folders(folder: Path) -> list[Path]:
    """Sub-folders in natural order, hidden ones left out."""
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
    except OSError as error:
        raise VidaffError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return sorted(entries, key=lambda path: natural_key(path.name))


def list_files(folder: Path) -> list[Path]:
    """Files of a folder in natural order; hidden files and the droppings of file managers are left out."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError as error:
        raise VidaffError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    kept = [name for name in names if name[0] != "." and name.lower() not in ("thumbs.db", "desktop.ini")]
    return [folder / name for name in sorted(kept, key=natural_key)]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key by which ``2.png`` comes before ``10.png``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def frame_number(path: Path) -> int:
    """Number of a frame from its name: ``0007.png`` -> 7, ``frame12.jpg`` -> 12; exactly one number is expected."""
    numbers = _NUMBER.findall(path.stem)
    if len(numbers) != 1:
        raise VidaffError(f"{path}: a frame's name must hold exactly one number, such as 0001.png")
    return int(numbers[0])


def sort_frames(paths: list[Path], folder: Path) -> list[Path]:
    """Frames by number, whatever the order of the names; two frames with one number are an error."""
    pictures = [path for path in paths if path.suffix.lower() in PICTURES]
    if not pictures:
        raise VidaffError(f"{folder}: no frames (pictures named 0001.png ...)")
    numbered = sorted((frame_number(path), path) for path in pictures)
    for (number, path), (following, other) in pairwise(numbered):
        if number == following:
            raise VidaffError(f"{folder}: {path.name} and {other.name} have the same frame number")
    return [path for _, path in numbered]


def split_extras(folder: Path) -> tuple[list[Path], list[Path]]:
    """Colour frames (names without ``_``) by number, and the other files as the authors' loader sorts them."""
    files = list_files(folder)
    frames = sort_frames([path for path in files if "_" not in path.name], folder)
    return frames, sorted((path for path in files if "_" in path.name), key=lambda path: path.name)


def scan_sor3d(folder: Path, info: ClipInfo) -> Recording:
    """List a SOR3D-AFF recording: frames, the mask (first extra) and the hotspot JSON (fourth extra) in ``rgb/``.

    Raises :class:`VidaffError` when ``rgb/`` is missing or empty or does not hold exactly four extra files.
    """
    rgb = folder / "rgb"
    if not rgb.is_dir():
        raise VidaffError(f"{folder}: has no rgb/ folder")
    frames, extras = split_extras(rgb)
    if len(extras) != EXTRAS:
        found = ", ".join(path.name for path in extras) or "none"
        raise VidaffError(
            f"{rgb}: {EXTRAS} extra files with '_' in their names are expected (mask first, hotspot JSON last), "
            f"found {len(extras)}: {found}"
        )
    camera = _camera(folder)
    fps = camera.fps if camera else None
    return Recording(info, folder, frames, extras[0], extras[3], *_folders(folder), camera, fps)


def scan_own(folder: Path, info: ClipInfo, camera: Camera | None, fps: float | None) -> Recording:
    """List an own clip: ``rgb/`` with frames only, ``mask.png`` beside it when the clip is labelled."""
    rgb = folder / "rgb"
    if not rgb.is_dir():
        raise VidaffError(f"{folder}: has no rgb/ folder with the frames")
    frames = sort_frames(list_files(rgb), rgb)
    mask = folder / "mask.png"
    labelled = mask if mask.is_file() else None
    camera = camera or _camera(folder)
    fps = fps or (camera.fps if camera else None)
    return Recording(info, folder, frames, labelled, None, *_folders(folder), camera, fps)


def _folders(folder: Path) -> tuple[Path | None, Path | None, Path | None]:
    """Depth, flow and parts of a recording where they exist."""
    depth, flow, parts = (folder / name for name in ("depth", "flow", "parts"))
    packed = folder / "flow.npz"
    return (
        depth if depth.is_dir() else None,
        packed if packed.is_file() else flow if flow.is_dir() else None,
        parts if parts.is_dir() else None,
    )


def _camera(folder: Path) -> Camera | None:
    path = folder / "intrinsics.yaml"
    return read_camera(path) if path.is_file() else None


def read_hotspot(path: Path) -> list[tuple[float, float, float]]:
    """Circles (x, y, radius) in pixels of the colour picture from ``{"center": [{"x_coord", "y_coord", "radius"}]}``.

    Numbers may be written as strings. Raises :class:`VidaffError` for anything else.

    Source: STCAE release, ``data/dataloader.py`` (pixels of the 1920x1080 picture).
    """
    content = read_json(path)
    entries = content.get("center") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise VidaffError(f'{path}: a hotspot file holds {{"center": [{{"x_coord", "y_coord", "radius"}}]}}')
    return [_circle(entry, path) for entry in entries]


def _circle(entry: Any, path: Path) -> tuple[float, float, float]:
    try:
        x, y, radius = (float(entry[key]) for key in ("x_coord", "y_coord", "radius"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise VidaffError(f"{path}: x_coord, y_coord and radius must be numbers, got {entry!r:.80}") from error
    if not all(abs(value) < 1e6 for value in (x, y, radius)) or radius < 0:
        raise VidaffError(f"{path}: hotspot ({x:g}, {y:g}) with radius {radius:g} is not plausible")
    return x, y, radius
