"""The ``--intrinsics`` option: four numbers, or a YAML file."""

from __future__ import annotations

from pathlib import Path

from vidaff.datasets.calibration import Camera, read_camera
from vidaff.errors import VidaffError
from vidaff.flow3d.types import Intrinsics


def parse_intrinsics(text: str) -> Intrinsics | Camera:
    """Read "fx,fy,cx,cy" in pixels of the frames, or a YAML file that says its size too."""
    if "," not in text or Path(text).exists():
        return read_camera(text)
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
        return Intrinsics(fx, fy, cx, cy)
    except ValueError as error:
        raise VidaffError(f"--intrinsics {text!r}: write fx,fy,cx,cy in pixels, or a YAML file ({error})") from error


def on_grid(camera: Intrinsics | Camera, size: tuple[int, int]) -> Intrinsics:
    """The camera for frames of ``size`` (height, width); raise :class:`VidaffError` when its own has another shape."""
    if isinstance(camera, Intrinsics):
        return camera
    height, width = camera.size
    if abs(height * size[1] - width * size[0]) > 0.01 * height * size[1]:
        raise VidaffError(f"intrinsics are for {width}x{height} pixels, the frames have {size[1]}x{size[0]}")
    return camera.intrinsics.scaled(size[1] / width, size[0] / height)
