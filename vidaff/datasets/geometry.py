"""From the recorded pixel grid to the stored one: window, resizing, colour mapped to depth, intrinsics.

``resize``   the whole picture, resized.
``crop``     the window the authors' release looks at: resize to 640x360, rows 0:300, columns 200:500. Here the window
             is cut out first and resized once, which is the same picture with one interpolation less.
``aligned``  colour mapped to the depth camera's grid (Kinect v2: 1920x1080 to 512x424) with a calibration, then the
             whole grid or its centre, resized: what the paper describes.

Colours are averaged over areas when shrinking. Labels, depth and flow take the nearest pixel: a mean of depths
would invent points between hand and table, and a missing depth (0) would leak into its neighbours.

Source: Thermos et al., ICASSP 2020, section 4.1 (300x300 on the depth grid); STCAE release, ``data/dataloader.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vidaff.errors import VidaffError

if TYPE_CHECKING:
    from vidaff.datasets.calibration import Calibration
    from vidaff.flow3d import Intrinsics

MODES = ("resize", "crop", "aligned")
Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Part of the recorded grid that is kept, in its pixels, and the (height, width) it is resized to."""

    top: int
    left: int
    height: int
    width: int
    size: Size

    def colours(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (*size, 3): area average when shrinking, bilinear when growing."""
        shrinks = self.size[0] * self.size[1] < self.height * self.width
        return self._resized(picture, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def nearest(self, picture: np.ndarray) -> np.ndarray:
        """(H, W[, C]) of labels, depth or packed flow -> (*size[, C]): nearest pixel."""
        return self._resized(picture, cv2.INTER_NEAREST_EXACT)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """A box of the recorded grid -> of the stored one, cut off at its edges; without area if it lies outside."""
        down, across = self.size[0] / self.height, self.size[1] / self.width
        left, right = (min(max(x - self.left, 0), self.width) * across for x in (x0, x1))
        top, bottom = (min(max(y - self.top, 0), self.height) * down for y in (y0, y1))
        return left, top, right, bottom

    def intrinsics(self, camera: Intrinsics) -> Intrinsics:
        """Intrinsics of the recorded grid -> of the stored grid."""
        return camera.cropped(self.left, self.top).scaled(self.size[1] / self.width, self.size[0] / self.height)

    def _resized(self, picture: np.ndarray, how: int) -> np.ndarray:
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        if part.shape[:2] == self.size:
            return np.ascontiguousarray(part)
        return cv2.resize(np.ascontiguousarray(part), self.size[::-1], interpolation=how)


@dataclass(frozen=True)
class Geometry:
    """How recordings become clips: ``mode``, stored ``size`` (``None``: the window's own), calibration, centre crop."""

    mode: str = "resize"
    size: Size | None = None
    calibration: Calibration | None = None
    centre_crop: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise VidaffError(f"unknown geometry {self.mode!r}; known: {', '.join(MODES)}")
        if self.size is not None and min(self.size) < 8:
            raise VidaffError(f"clips of {self.size[1]}x{self.size[0]} pixels are too small; the least is 8x8")
        if (self.mode == "aligned") != (self.calibration is not None):
            raise VidaffError("geometry 'aligned' and a calibration file belong together: give both or neither")
        if self.centre_crop is not None and self.mode != "aligned":
            raise VidaffError("centre_crop belongs to geometry 'aligned'")

    def window(self, recorded: Size, where: str) -> Window:
        """Window into a recorded grid of (height, width) pixels."""
        height, width = recorded
        top, left = 0, 0
        if self.mode == "crop":
            left, width, height = _authors_window(recorded, where)
        elif self.centre_crop is not None:
            side = self.centre_crop
            if not 8 <= side <= min(recorded):
                raise VidaffError(f"{where}: a centre crop of {side} does not fit a grid of {width}x{height} pixels")
            top, left, height, width = (height - side) // 2, (width - side) // 2, side, side
        return Window(top, left, height, width, self.size or (height, width))


def _authors_window(recorded: Size, where: str) -> tuple[int, int, int]:
    """Left, width and height of the release's window: columns 200:500 of 640, rows 0:300 of 360."""
    height, width = recorded
    if abs(width / height - 16 / 9) > 0.02:
        raise VidaffError(f"{where}: geometry 'crop' needs 16:9 pictures, got {width}x{height}; use 'resize'")
    left = round(width * 200 / 640)
    return left, round(width * 500 / 640) - left, round(height * 300 / 360)


def colour_map(depth_mm: np.ndarray, calibration: Calibration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each depth pixel lies in the colour picture.

    ``depth_mm`` (H, W) uint16 on the depth grid -> x, y (H, W) float32 colour pixels and seen (H, W) bool. Pixels
    without depth, behind the colour camera or outside its picture are not seen. Points hidden from the colour camera
    take the colour in front of them.
    """
    if depth_mm.shape != calibration.depth.size:
        raise VidaffError(
            f"depth is {depth_mm.shape[1]}x{depth_mm.shape[0]}, the calibration's depth camera "
            f"{calibration.depth.size[1]}x{calibration.depth.size[0]} pixels"
        )
    source, target = calibration.depth.intrinsics, calibration.colour.intrinsics
    rows, columns = np.indices(depth_mm.shape, dtype=np.float32)
    z = depth_mm.astype(np.float32) / 1000
    points = np.stack([(columns - source.cx) / source.fx * z, (rows - source.cy) / source.fy * z, z])  # (3, H, W)
    moved = np.tensordot(calibration.rotation.astype(np.float32), points, axes=1)
    x, y, away = moved + calibration.translation.astype(np.float32)[:, None, None]
    in_front = np.where(away > 0.01, away, 1)
    x = (x / in_front * target.fx + target.cx).astype(np.float32)
    y = (y / in_front * target.fy + target.cy).astype(np.float32)
    height, width = calibration.colour.size
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return x, y, (depth_mm > 0) & (away > 0.01) & inside


def map_colours(picture: np.ndarray, depth_mm: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Colour picture (h, w, 3) uint8 seen from the depth camera -> (H, W, 3), bilinear; black where none is known."""
    return _mapped(picture, depth_mm, calibration, cv2.INTER_LINEAR, 0)


def map_labels(labels: np.ndarray, depth_mm: np.ndarray, calibration: Calibration, *, missing: int) -> np.ndarray:
    """Labels (h, w) uint8 of the colour picture -> (H, W) on the depth grid, nearest; ``missing`` if none is seen."""
    return _mapped(labels, depth_mm, calibration, cv2.INTER_NEAREST, missing)


def _mapped(picture: np.ndarray, depth_mm: np.ndarray, calibration: Calibration, how: int, fill: int) -> np.ndarray:
    if picture.shape[:2] != calibration.colour.size:
        raise VidaffError(
            f"the picture is {picture.shape[1]}x{picture.shape[0]}, the calibration's colour camera "
            f"{calibration.colour.size[1]}x{calibration.colour.size[0]} pixels"
        )
    x, y, seen = colour_map(depth_mm, calibration)
    mapped: np.ndarray = cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_REPLICATE)
    mapped[~seen] = fill
    return mapped


def same_aspect(one: Size, other: Size) -> bool:
    """Whether two grids have the same ratio of sides to 1 %, as pictures of one view in two resolutions have."""
    return abs(one[1] * other[0] / (one[0] * other[1]) - 1) < 0.01


def parse_size(text: str) -> Size:
    """``"96"`` -> (96, 96), ``"240x320"`` -> (240, 320): height before width."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise VidaffError(f"size {text!r} is not understood; write 96 or 240x320 (height x width)")
    numbers = [int(part) for part in parts]
    if max(numbers) > 4096:
        raise VidaffError(f"size {text!r} is too large; the most is 4096")
    return numbers[0], numbers[-1]
