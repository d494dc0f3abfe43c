"""Camera files: intrinsics of one grid, and the calibration between a Kinect's colour and depth cameras (YAML).

``intrinsics.yaml`` of a recording::

    fx: 120.0        # pixels
    fy: 120.0
    cx: 63.5
    cy: 63.5
    width: 128       # the grid these numbers belong to (the depth grid)
    height: 128
    fps: 10          # optional

Calibration file for ``geometry: aligned``::

    colour: {fx: 1081.4, fy: 1081.4, cx: 959.5, cy: 539.5, width: 1920, height: 1080}
    depth:  {fx: 365.0, fy: 365.0, cx: 255.5, cy: 211.5, width: 512, height: 424}
    rotation: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]     # depth camera -> colour camera
    translation: [0.052, 0.0, 0.0]                  # metres
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics

MAX_YAML_BYTES = 256 * 1024
CAMERA_KEYS = ("fx", "fy", "cx", "cy", "width", "height")

KINECT_V2_DEPTH_SIZE = (424, 512)
KINECT_V2_DEPTH = Intrinsics(fx=365.0, fy=365.0, cx=255.5, cy=211.5)
"""Nominal Kinect v2 depth camera (70.6 degrees across 512 pixels), used when a 512x424 recording brings none."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera of one pixel grid; ``size`` is (height, width)."""

    intrinsics: Intrinsics
    size: tuple[int, int]
    fps: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**self.intrinsics.as_dict(), "width": self.size[1], "height": self.size[0]}


@dataclass(frozen=True)
class Calibration:
    """Colour and depth camera; ``rotation`` (3, 3) and ``translation`` (3,) in metres map depth to colour space."""

    colour: Camera
    depth: Camera
    rotation: np.ndarray
    translation: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """The content of the YAML file, for the settings stored with prepared clips."""
        return {
            "colour": self.colour.as_dict(),
            "depth": self.depth.as_dict(),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping of at most 256 KiB with the safe loader; raise :class:`VidaffError` for anything else."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise VidaffError(f"{path}: larger than {MAX_YAML_BYTES >> 10} KiB, refused as YAML")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VidaffError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise VidaffError(f"{path}: not readable as YAML ({reason})") from error
    if not isinstance(content, dict):
        raise VidaffError(f"{path}: a mapping of keys to values is expected, got {type(content).__name__}")
    return content


def read_camera(path: str | Path) -> Camera:
    """Read ``intrinsics.yaml``; raise :class:`VidaffError` naming what is missing or out of range."""
    return parse_camera(read_yaml(path), str(path))


def parse_camera(content: Any, where: str) -> Camera:
    """Camera from a mapping with fx fy cx cy width height and, optionally, fps."""
    if not isinstance(content, Mapping):
        raise VidaffError(f"{where}: a camera needs the keys {' '.join(CAMERA_KEYS)}")
    values = {key: _number(content, key, where) for key in CAMERA_KEYS}
    if min(values["fx"], values["fy"], values["width"], values["height"]) <= 0:
        raise VidaffError(f"{where}: fx, fy, width and height must be positive")
    size = (round(values["height"]), round(values["width"]))
    fps = _number(content, "fps", where) if content.get("fps") is not None else None
    if fps is not None and fps <= 0:
        raise VidaffError(f"{where}: fps must be positive, got {fps:g}")
    return Camera(Intrinsics(**{key: values[key] for key in ("fx", "fy", "cx", "cy")}), size, fps)


def read_calibration(path: str | Path) -> Calibration:
    """Read the calibration YAML shown in the module's docstring; ``rotation`` must be a rotation matrix."""
    content = read_yaml(path)
    colour, depth = (parse_camera(content.get(key), f"{path}: {key}") for key in ("colour", "depth"))
    rotation = _array(content, "rotation", (3, 3), path)
    translation = _array(content, "translation", (3,), path)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        raise VidaffError(f"{path}: rotation is not a rotation matrix (orthonormal rows, determinant 1)")
    if np.abs(translation).max() > 1.0:
        raise VidaffError(f"{path}: translation {translation.tolist()} is longer than a metre; its unit is metres")
    return Calibration(colour, depth, rotation, translation)


def _number(content: Mapping[str, Any], key: str, where: str) -> float:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise VidaffError(f"{where}: {key} must be a number, got {value!r}")
    return float(value)


def _array(content: Mapping[str, Any], key: str, shape: tuple[int, ...], path: str | Path) -> np.ndarray:
    try:
        array = np.asarray(content.get(key), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise VidaffError(f"{path}: {key} must be {' x '.join(map(str, shape))} numbers")
    return array
