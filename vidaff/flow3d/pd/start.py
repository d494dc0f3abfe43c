"""Where ``pd-dis`` begins: coarse search, DIS from there, depth motion, and what to believe about hidden pixels.

Ours, not part of PD-Flow, whose solver starts from zero and is lost above about 15 pixels.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidaff.flow3d import clean
from vidaff.flow3d.clean import landed_elsewhere, smooth_depth_motion
from vidaff.flow3d.dis import FINE, DisFlow2D, describe
from vidaff.flow3d.lift import pixel_grid, sample_depth
from vidaff.flow3d.pd import occlusion, search
from vidaff.flow3d.pd.threads import run_all, run_rows
from vidaff.flow3d.types import Intrinsics

SEARCH_SIDE = 80
"""The coarse search takes the first pyramid level whose larger side is at most this."""
SEARCH_REACH = 14
"""Pixels of that level in each direction: 56 at 320 columns, 28 at 96 and 128."""
DOUBT = 0.016
"""Pixels this near to a refused match are looked at again, as a share of the larger side."""
SURFACE_REACH = 0.3
"""How far a surface is followed to learn its motion, as a share of the larger side."""
JUMP_M = 0.05
"""Depth edges above this are not interpolated across."""
MAX_MOTION_M = 0.5
"""More depth motion than that in one frame is a wrong match."""
REST_PX = 2.0
"""Motions above this are weighed against standing still."""
CAMERA_RESTS_M = 0.02
"""Median depth motion up to which most of what is seen is taken to be at rest."""
COST_WINDOW = 5
"""Side of the window over which grey differences are averaged."""


class Start(NamedTuple):
    """``total`` (3, H, W) float32: u, v pixels, w metres; ``hidden`` (H, W) bool: out of sight in the other frame.

    ``trusted`` (H, W) bool: measured, or taken from the pixel's own surface.
    """

    total: np.ndarray
    hidden: np.ndarray
    trusted: np.ndarray


Picture = tuple[np.ndarray, np.ndarray]
"""(H, W) grey and (H, W) float32 metres."""


def settings() -> dict[str, Any]:
    """Every number that changes the result, to be stored with the data."""
    return {
        "dis": describe(FINE),
        "search_side": SEARCH_SIDE,
        "search_reach": SEARCH_REACH,
        "doubt": DOUBT,
        "surface_reach": SURFACE_REACH,
        "jump_m": JUMP_M,
        "max_motion_m": MAX_MOTION_M,
        "rest_px": REST_PX,
        "camera_rests_m": CAMERA_RESTS_M,
        "cost_window": COST_WINDOW,
        "search": search.settings(),
        "occlusion": occlusion.settings(),
        "clean": clean.settings(),
    }


def search_levels(height: int, width: int) -> int:
    """Number of pyramid levels down to the one that is searched."""
    levels = 1
    while max(height, width) / 2 ** (levels - 1) > SEARCH_SIDE:
        levels += 1
    return levels


class Starter:
    """Finds the start of a pair; keeps the DIS solver."""

    def __init__(self, camera: Intrinsics, *, threads: int) -> None:
        self.camera, self.threads = camera, threads
        self._dis = DisFlow2D(camera, "auto")

    def start(self, full: tuple[Picture, Picture], coarse: tuple[Picture, Picture], factor: int) -> Start:
        """``full``: both frames with uint8 grey; ``coarse``: the searched level, float32, ``factor`` times smaller."""
        (grey0, depth0), (grey1, depth1) = full
        motion = self._dis.motion(grey0, grey1, self._search(coarse, factor, grey0.shape))
        sampled = sample_depth(depth1, motion, jump_m=JUMP_M)
        known = (depth0 > 0) & (sampled > 0)
        raw = np.where(known, sampled - depth0, np.float32(0))
        # A camera that moves carries everything along; only what differs from that speaks against a match.
        shift = np.float32(np.median(raw[::4, ::4][known[::4, ::4]])) if known[::4, ::4].any() else np.float32(0)
        cost = _match_cost(grey0, grey1, motion, raw - shift)
        _stop_what_rests((grey0, depth0), (grey1, depth1), motion, raw, cost)
        usable = known & (np.abs(raw) <= MAX_MOTION_M)
        if abs(shift) < CAMERA_RESTS_M:
            usable &= ~landed_elsewhere(depth0, sampled)
        total = np.stack([*cv2.split(motion), smooth_depth_motion(raw, depth0, usable)])
        return self._settle(total, cost, shift, (known, usable), full)

    def _search(self, coarse: tuple[Picture, Picture], factor: int, shape: tuple[int, ...]) -> np.ndarray:
        """(H, W, 2) float32 pixels of the full picture, in whole steps of ``factor``."""
        best = np.empty((3, *coarse[0][0].shape), np.float32)
        rows = best.shape[1]
        # More shares than threads: rows at rest cost nothing, rows through the hand a lot.
        edges = np.linspace(0, rows, min(rows, 6 * self.threads) + 1).astype(int).tolist()
        jobs = [
            partial(search.search, first, last, coarse[0], coarse[1], SEARCH_REACH, best)
            for first, last in itertools.pairwise(edges)
        ]
        run_all(jobs, self.threads)
        planes = [cv2.medianBlur(plane, 3) * np.float32(factor) for plane in best[1:]]
        grown = [np.repeat(np.repeat(plane, factor, 0), factor, 1)[: shape[0], : shape[1]] for plane in planes]
        return np.ascontiguousarray(np.stack(grown, axis=-1))

    def _settle(
        self,
        total: np.ndarray,
        cost: np.ndarray,
        shift: np.float32,
        knowledge: tuple[np.ndarray, np.ndarray],
        full: tuple[Picture, Picture],
    ) -> Start:
        known, usable = knowledge
        shape, side = cost.shape, max(cost.shape)
        owner, refused = np.empty(shape, np.int32), np.empty(shape, np.uint8)
        occlusion.claim(total, cost, known, owner)
        run_rows(shape[0], self.threads, lambda a, b: occlusion.refuse(a, b, total, cost, known, owner, refused))
        refused |= ~usable
        doubt = _neighbourhood(refused, round(DOUBT * side))
        out, verdict = np.empty_like(total), np.empty(shape, np.uint8)
        focal, looks = np.float32(self.camera.fx), occlusion.rays(max(2, round(SURFACE_REACH * side)))
        run_rows(
            shape[0],
            self.threads,
            lambda a, b: occlusion.settle(
                a, b, total, cost, refused, doubt, full[0], full[1], shift, focal, looks, out, verdict
            ),
        )
        return Start(out, verdict == occlusion.HIDDEN, verdict != occlusion.LONELY)


def _stop_what_rests(frame0: Picture, frame1: Picture, motion: np.ndarray, raw: np.ndarray, cost: np.ndarray) -> None:
    """Take no motion, in place, where that explains a pixel as well as the motion found, and the two differ.

    A match that wandered off in a plain region would else stay: nothing there pulls it back.
    """
    (grey0, depth0), (grey1, depth1) = frame0, frame1
    change = np.where((depth0 > 0) & (depth1 > 0), depth1 - depth0, np.float32(0))
    still: np.ndarray = cv2.boxFilter(cv2.absdiff(grey0, grey1), cv2.CV_32F, (COST_WINDOW, COST_WINDOW))
    still += np.float32(occlusion.DEPTH_WEIGHT) * np.minimum(np.abs(change), np.float32(occlusion.DEPTH_LIMIT_M))
    rests = (still <= cost) & (np.abs(motion).max(axis=-1) > REST_PX)
    motion[rests] = 0
    raw[rests] = change[rests]
    cost[rests] = still[rests]


def _match_cost(grey0: np.ndarray, grey1: np.ndarray, motion: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """(H, W) float32 grey levels: difference of the windows, and the price of the depth motion."""
    warped = cv2.remap(
        grey1, motion + pixel_grid(*grey0.shape), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cost: np.ndarray = cv2.boxFilter(cv2.absdiff(grey0, warped), cv2.CV_32F, (COST_WINDOW, COST_WINDOW))
    cost += np.float32(occlusion.DEPTH_WEIGHT) * np.minimum(np.abs(raw), np.float32(occlusion.DEPTH_LIMIT_M))
    return cost


def _neighbourhood(refused: np.ndarray, reach: int) -> np.ndarray:
    """Refused pixels and those within ``reach`` of them, unless it is a single one: a hole of the camera."""
    groups = cv2.morphologyEx(refused, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    grown: np.ndarray = cv2.dilate(groups, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) | refused
    return grown
