"""Method ``none``: zero flow, for models without a flow stream and for single pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from vidaff.flow3d.types import Flow, Intrinsics


def zero_flow(shape: tuple[int, ...], depth_m: np.ndarray | None) -> Flow:
    """Zero flow of (H, W) pixels, valid where depth is, everywhere without depth."""
    valid = np.ones(shape, bool) if depth_m is None else depth_m > 0
    return Flow(np.zeros((*shape, 3), np.float32), valid)


class NoFlow:
    """Zero flow."""

    needs_depth = False
    backends: tuple[str, ...] = ("numpy",)

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None:
        del intrinsics, backend

    def prepare(self, grey: np.ndarray, depth_m: np.ndarray | None) -> Flow:
        return zero_flow(grey.shape, depth_m)

    def between(self, frame0: Flow, frame1: Flow) -> Flow:
        del frame1
        return self.still(frame0)

    def still(self, frame: Flow) -> Flow:
        return Flow(frame.flow.copy(), frame.valid.copy())

    def settings(self) -> dict[str, Any]:
        return {}
