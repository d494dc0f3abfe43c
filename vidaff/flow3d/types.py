"""What goes in and comes out of scene flow: a pinhole camera, and a flow field with its validity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

LEAST_FOCAL_PX, MOST_PX = 1e-3, 1e9
"""What the float32 formulas stand; no camera comes near either."""


class Flow(NamedTuple):
    """A scene flow field.

    ``flow`` (H, W, 3) float32 metres per frame pair, X right, Y down, Z away; 0 where not valid, never NaN.
    ``valid`` (H, W) bool.
    """

    flow: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: focal lengths and principal point in pixels, pixel centres at whole numbers.

    Raises ``ValueError`` naming the field when one is not finite or beyond 1e9, or a focal length is below 1e-3.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "cx", "cy"):
            value = _number(name, getattr(self, name))
            if name.startswith("f") and value <= 0:
                raise ValueError(f"intrinsics.{name}: must be positive, got {value}")
            if abs(value) > MOST_PX or (name.startswith("f") and value < LEAST_FOCAL_PX):
                raise ValueError(f"intrinsics.{name}: {value} is beyond any camera, in pixels")
            object.__setattr__(self, name, value)

    def scaled(self, sx: float, sy: float) -> Intrinsics:
        """The camera of the picture resized by ``sx``, ``sy`` (new size / old size), pixel areas kept aligned."""
        return Intrinsics(self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)

    def cropped(self, x0: float, y0: float) -> Intrinsics:
        """The camera of the picture whose pixel (0, 0) is this one's pixel (x0, y0)."""
        return Intrinsics(self.fx, self.fy, self.cx - x0, self.cy - y0)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Intrinsics:
        """Read ``fx fy cx cy``; other keys (width, height, fps) are left alone. ``ValueError`` when one is missing."""
        missing = [name for name in ("fx", "fy", "cx", "cy") if name not in values]
        if missing:
            raise ValueError(f"intrinsics: {', '.join(missing)} missing")
        return cls(*(_number(name, values[name]) for name in ("fx", "fy", "cx", "cy")))


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"intrinsics.{name}: must be a number, got {value!r}") from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"intrinsics.{name}: must be a finite number, got {value!r}")
    return number
