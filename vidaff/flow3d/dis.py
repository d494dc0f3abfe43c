"""Methods ``dis``, ``dis-still`` and ``dis2d``: OpenCV's DIS optical flow, with depth lifted to metres or without."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from vidaff.flow3d import clean, verdict
from vidaff.flow3d.clean import landed_elsewhere, smooth_depth_motion
from vidaff.flow3d.lift import lift, plausible, sample_depth
from vidaff.flow3d.still import zero_flow
from vidaff.flow3d.types import Flow, Intrinsics
from vidaff.flow3d.verdict import weigh

MIN_SIDE = 32
"""OpenCV's DIS refuses pictures under about 12 pixels and is unreliable just above: smaller ones are padded."""


FINE_SIDE = 200
"""Larger side, in pixels, above which patches are at least ``LARGE_STRIDE`` apart: closer ones cost too much there."""
LARGE_STRIDE = 3


class Frame(NamedTuple):
    """A prepared frame: (H, W) uint8 grey and (H, W) float32 metres or None."""

    grey: np.ndarray
    depth_m: np.ndarray | None


class DisSettings(NamedTuple):
    """Parameters of the 2D flow (:class:`cv2.DISOpticalFlow`)."""

    finest_scale: int = 1
    patch_size: int = 8
    patch_stride: int = 4
    descent_iterations: int = 12
    variational_iterations: int = 3


FINE = DisSettings(patch_size=4, patch_stride=2)
"""Half of OpenCV's patches: one more pyramid level, hence twice the reach, and thin fingers survive."""


def describe(dis: DisSettings) -> dict[str, int]:
    """Every number of the 2D flow, to be stored with the data."""
    return {**dis._asdict(), "min_side": MIN_SIDE, "fine_side": FINE_SIDE, "large_stride": LARGE_STRIDE}


class DisFlow2D:
    """2D flow as if everything were 1 m away: components (du / fx, dv / fy, 0) metres.

    For the RGB-only rows of the ablation (Thermos et al., ICASSP 2020, Table 3), whose second stream is 2D flow.
    """

    needs_depth = False
    backends: tuple[str, ...] = ("opencv",)
    dis = FINE

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None:
        del backend
        self.intrinsics = intrinsics
        self._idle: list[Any] = []

    def prepare(self, grey: np.ndarray, depth_m: np.ndarray | None) -> Frame:
        return Frame(grey, depth_m)

    def between(self, frame0: Frame, frame1: Frame) -> Flow:
        motion = self.motion(frame0.grey, frame1.grey)
        motion[~weigh(frame0.grey, frame1.grey, motion).moved] = 0
        flow = np.zeros((*frame0.grey.shape, 3), np.float32)
        flow[..., 0] = motion[..., 0] / np.float32(self.intrinsics.fx)
        flow[..., 1] = motion[..., 1] / np.float32(self.intrinsics.fy)
        return Flow(flow, np.ones(frame0.grey.shape, bool))

    def still(self, frame: Frame) -> Flow:
        return zero_flow(frame.grey.shape, None)

    def motion(self, grey0: np.ndarray, grey1: np.ndarray, initial: np.ndarray | None = None) -> np.ndarray:
        """Image motion (H, W, 2) float32 pixels from grey0 to grey1, always finite; ``initial``: one to begin from."""
        height, width = grey0.shape
        pad = (0, max(0, MIN_SIDE - height), 0, max(0, MIN_SIDE - width))
        if any(pad):
            grey0, grey1 = (cv2.copyMakeBorder(grey, *pad, cv2.BORDER_REPLICATE) for grey in (grey0, grey1))
        if initial is not None:
            # A copy always: OpenCV writes the result into it.
            initial = cv2.copyMakeBorder(initial, *pad, cv2.BORDER_REPLICATE)
        solver = self._dis(max(grey0.shape))
        motion = np.ascontiguousarray(solver.calc(grey0, grey1, initial)[:height, :width])
        self._idle.append(solver)
        return np.nan_to_num(motion, copy=False, nan=0.0, posinf=0.0, neginf=0.0)

    def _dis(self, side: int) -> Any:
        """A solver for a picture of this larger side that no other thread uses: its buffers belong to one call."""
        try:
            solver = self._idle.pop()
        except IndexError:
            solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            solver.setFinestScale(self.dis.finest_scale)
            solver.setPatchSize(self.dis.patch_size)
            solver.setGradientDescentIterations(self.dis.descent_iterations)
            solver.setVariationalRefinementIterations(self.dis.variational_iterations)
        solver.setPatchStride(max(self.dis.patch_stride, LARGE_STRIDE if side > FINE_SIDE else 1))
        return solver

    def settings(self) -> dict[str, Any]:
        return {"dis": describe(self.dis), "verdict": verdict.settings()}


class DisFlow(DisFlow2D):
    """2D flow lifted with depth; the depth motion is cleaned of outliers and smoothed along surfaces.

    Valid where both depths are known, the pixel did not land on another surface (:func:`landed_elsewhere`) and no
    component exceeds ``max_motion_m``: more than that in one frame is a wrong match, not a hand.
    """

    needs_depth = True
    linear_lift = False
    dis = DisSettings()
    jump_m = 0.05
    max_motion_m = 0.5

    def between(self, frame0: Frame, frame1: Frame) -> Flow:
        depth0, depth1 = _depths(frame0, frame1)
        motion = self.motion(frame0.grey, frame1.grey)
        sampled = sample_depth(depth1, motion, jump_m=self.jump_m)
        valid = self._possible(depth0, sampled)
        depth_motion = smooth_depth_motion(sampled - depth0, depth0, valid)
        return self._lift(motion, depth0, depth_motion, valid)

    def _lift(self, motion: np.ndarray, depth0: np.ndarray, depth_motion: np.ndarray, valid: np.ndarray) -> Flow:
        lifted = lift(motion, depth0, depth_motion, valid, self.intrinsics, linear=self.linear_lift)
        return plausible(lifted, self.max_motion_m)

    def _possible(self, depth0: np.ndarray, sampled: np.ndarray) -> np.ndarray:
        """(H, W) bool: depth allows that the point moved from ``depth0`` to ``sampled``."""
        possible = (depth0 > 0) & (sampled > 0) & (np.abs(sampled - depth0) <= self.max_motion_m)
        possible &= ~landed_elsewhere(depth0, sampled)
        return possible

    def still(self, frame: Frame) -> Flow:
        return zero_flow(frame.grey.shape, frame.depth_m)

    def settings(self) -> dict[str, Any]:
        values = {
            "dis": describe(self.dis),
            "jump_m": self.jump_m,
            "max_motion_m": self.max_motion_m,
            "clean": clean.settings(),
        }
        return {**values, "linear_lift": True} if self.linear_lift else values


class DisStillFlow(DisFlow):
    """``dis`` with finer patches, and weighed against the hypothesis that a point stands still (:func:`weigh`).

    Valid where depth is known and the pixel either stands still, or moved as the flow says and its grey fits.
    """

    dis = FINE

    def between(self, frame0: Frame, frame1: Frame) -> Flow:
        depth0, depth1 = _depths(frame0, frame1)
        motion = self.motion(frame0.grey, frame1.grey)
        sampled = sample_depth(depth1, motion, jump_m=self.jump_m)
        possible = self._possible(depth0, sampled)
        moved, still, hidden = weigh(frame0.grey, frame1.grey, motion, (depth0, depth1), possible)
        raw = sampled - depth0
        motion[still] = 0
        raw[still] = 0
        valid = moved | (still & ~hidden & (depth0 > 0))
        depth_motion = smooth_depth_motion(raw, depth0, valid)
        depth_motion[still] = 0
        return self._lift(motion, depth0, depth_motion, valid)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "verdict": verdict.settings()}


def _depths(frame0: Frame, frame1: Frame) -> tuple[np.ndarray, np.ndarray]:
    if frame0.depth_m is None or frame1.depth_m is None:
        raise ValueError("depth: this method needs it in both frames")
    return frame0.depth_m, frame1.depth_m
