"""Flow as a picture: the colour coding the networks read and people look at.

Channels follow the pictures of the PD-Flow program (Jaimez et al., ICRA 2015), red first: R = vertical (Y),
G = horizontal (X), B = depth (Z).

* ``signed`` (ours): 128 + round(127 clip(d / scale, -1, 1)); mid-grey is rest, so it can be inverted.
* ``abs`` (Thermos et al., ICASSP 2020, by their published pictures): round(255 min(1, |d| / scale)); black is rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidaff.flow3d.store import known_flow

SIGNED_SCALE_M = 0.10
"""Motion per frame pair that saturates ``signed``: 0.10 m, 1 m/s at 10 frames a second."""
CODINGS = ("signed", "abs")
_ORDER = (1, 0, 2)  # flow axes X Y Z -> channels R=Y G=X B=Z; its own inverse

Scale = float | str | Sequence[float] | np.ndarray


def encode_flow(
    flow: np.ndarray, valid: np.ndarray | None = None, coding: str = "signed", scale: Scale | None = None
) -> np.ndarray:
    """Colour code ``flow`` (H, W, 3), or a clip (T, H, W, 3), float metres; returns uint8 of the same shape, RGB.

    ``valid`` (H, W) or (T, H, W) bool: the rest is coded as no motion. ``scale`` is what saturates: metres (one
    number, or one per axis X Y Z), or for ``abs`` also "clip" (largest |d| per axis of the whole array, the
    default), "frame" (of each frame), "p99.5" (a percentile over the array, against outliers). ``signed`` takes
    metres only, 0.10 by default. Raises ``ValueError`` naming the argument.
    """
    flow, known = _check(flow, valid)
    if coding not in CODINGS:
        raise ValueError(f"coding: {coding!r} is not one of {', '.join(CODINGS)}")
    if scale is None:
        scale = SIGNED_SCALE_M if coding == "signed" else "clip"
    if coding == "signed" and isinstance(scale, str):
        raise ValueError(f"scale: 'signed' needs metres, got {scale!r}; only 'abs' can take it from the data")
    ratio = np.where(known[..., None], flow, 0) * _inverse(_scales(flow, known, scale))
    if coding == "signed":
        coded = 128 + np.rint(127 * np.clip(ratio, -1, 1))
    else:
        coded = np.rint(255 * np.minimum(np.abs(ratio), 1))
    return np.ascontiguousarray(coded[..., _ORDER].astype(np.uint8))


def decode_flow(colour: np.ndarray, scale: Scale = SIGNED_SCALE_M) -> np.ndarray:
    """Invert ``signed``: uint8 (..., 3) -> float32 metres X Y Z, exact to scale / 254 where it did not saturate."""
    colour = np.asarray(colour)
    if colour.ndim < 1 or colour.shape[-1] != 3 or colour.dtype != np.uint8:
        raise ValueError(f"colour: must be (..., 3) uint8, got {colour.shape} {colour.dtype}")
    ratio = (colour[..., _ORDER].astype(np.float32) - 128) / np.float32(127)
    flow: np.ndarray = np.maximum(ratio, -1) * _metres(scale)
    return flow


def flow_scale(flow: np.ndarray, valid: np.ndarray | None = None, scale: Scale = "clip") -> np.ndarray:
    """The metres per axis X Y Z that ``abs`` divides by: (3,) float32, or (T, 3) for "frame" on a clip.

    Worth storing beside the picture: it makes |d| recoverable.
    """
    flow, known = _check(flow, valid)
    result = _scales(flow, known, scale)
    return result.reshape(-1, 3) if scale == "frame" and flow.ndim == 4 else result.reshape(3)


def _check(flow: np.ndarray, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    flow = np.asarray(flow)
    if flow.ndim not in (3, 4) or flow.shape[-1] != 3 or flow.dtype.kind != "f":
        raise ValueError(f"flow: must be (H, W, 3) or (T, H, W, 3) float metres, got {flow.shape} {flow.dtype}")
    return flow, known_flow(flow, valid)


def _scales(flow: np.ndarray, known: np.ndarray, scale: Scale) -> np.ndarray:
    """Scale per axis, shaped to broadcast over ``flow``."""
    if not isinstance(scale, str):
        return _metres(scale)
    size = np.where(known[..., None], np.abs(flow), 0)
    if scale == "frame":
        return size.max(axis=(-3, -2), keepdims=True, initial=0).astype(np.float32)
    if scale == "clip":
        return size.reshape(-1, 3).max(axis=0, initial=0).astype(np.float32)
    percent = _percent(scale)
    if not known.any():
        return np.zeros(3, np.float32)
    return np.percentile(np.abs(flow[known]), percent, axis=0).astype(np.float32)


def _metres(scale: Scale) -> np.ndarray:
    try:
        values = np.broadcast_to(np.asarray(scale, np.float32), (3,))
    except (TypeError, ValueError):
        raise ValueError(f"scale: must be metres, one number or three, got {scale!r}") from None
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"scale: must be positive metres, got {scale!r}")
    return values


def _percent(scale: str) -> float:
    try:
        percent = float(scale[1:]) if scale.startswith("p") else -1.0
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise ValueError(f"scale: {scale!r} is not 'clip', 'frame', a percentile such as 'p99', or metres")
    return percent


def _inverse(scales: np.ndarray) -> np.ndarray:
    """1 / scale, and 0 for an axis at rest (0 / 0 is no motion)."""
    return np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
