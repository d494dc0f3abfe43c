"""How flow is kept on disk: 16-bit integers in steps of 0.1 mm."""

from __future__ import annotations

import numpy as np

from vidaff.flow3d.types import Flow

STEP_M = 1e-4
"""One stored unit: 0.1 mm, a tenth of what a depth camera resolves."""
LIMIT = 32767
"""Largest stored value: motions beyond 3.2767 m are clipped to it."""
INVALID = -32768
"""Stored on all three axes of pixels without flow."""


def pack_flow(flow: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(..., 3) float metres -> int16 units of 0.1 mm; -32768 on all three axes where not valid or not finite."""
    flow = np.asarray(flow)
    if flow.ndim < 1 or flow.shape[-1] != 3 or flow.dtype.kind != "f":
        raise ValueError(f"flow: must be (..., 3) float metres, got {flow.shape} {flow.dtype}")
    known = known_flow(flow, valid)
    with np.errstate(over="ignore", invalid="ignore"):
        units = np.rint(np.where(known[..., None], flow, 0) * (1 / STEP_M))
        packed = np.clip(units, -LIMIT, LIMIT).astype(np.int16)
    packed[~known] = INVALID
    return packed


def unpack_flow(packed: np.ndarray) -> Flow:
    """(..., 3) int16 -> :class:`Flow` of (..., 3) float32 metres and (...) bool; exact to half a unit (0.05 mm)."""
    packed = np.asarray(packed)
    if packed.ndim < 1 or packed.shape[-1] != 3 or packed.dtype != np.int16:
        raise ValueError(f"packed: must be (..., 3) int16, got {packed.shape} {packed.dtype}")
    valid = (packed != INVALID).all(axis=-1)
    flow = packed * np.float32(STEP_M)
    flow[~valid] = 0
    return Flow(flow, valid)


def known_flow(flow: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """(...) bool: the pixels of ``flow`` (..., 3) that are finite on all axes and, where ``valid`` is given, valid."""
    known: np.ndarray = np.isfinite(flow).all(axis=-1)
    if valid is None:
        return known
    if np.shape(valid) != known.shape:
        raise ValueError(f"valid: must have the flow's shape {known.shape}, got {np.shape(valid)}")
    return known & np.asarray(valid, bool)
