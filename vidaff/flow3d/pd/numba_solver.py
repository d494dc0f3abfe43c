"""PD-Flow on the CPU: numba kernels, a few threads, no work repeated for a frame that is used twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vidaff.flow3d.pd import levels, sweep
from vidaff.flow3d.pd.schedule import Schedule, Stage
from vidaff.flow3d.pd.threads import bands, run_all, run_rows
from vidaff.flow3d.types import Intrinsics

BLOCK = 16
"""Iterations between two exchanges of the bands' borders: so many rows are computed twice, and must fit the cache."""


class Level(NamedTuple):
    """One pyramid level of a frame, all (H, W) float32."""

    grey: np.ndarray
    depth: np.ndarray
    rx: np.ndarray
    ry: np.ndarray
    grey_u: np.ndarray
    grey_v: np.ndarray
    depth_u: np.ndarray
    depth_v: np.ndarray


class NumbaSolver:
    """Solves pairs of frames of one size; ``threads`` share each level's rows and do not change the result."""

    def __init__(self, camera: Intrinsics, schedule: Schedule, *, threads: int) -> None:
        self.camera, self.schedule, self.threads = camera, schedule, threads

    def frame(self, pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Level]:
        """What the schedule's stages need of a frame, from its :func:`pyramid`."""
        needed = {stage.level for stage in self.schedule.stages}
        return [
            self._level(grey, depth, level) if level in needed else Level(grey, depth, *[_NOTHING] * 6)
            for level, (grey, depth) in enumerate(pictures)
        ]

    def _level(self, grey: np.ndarray, depth: np.ndarray, level: int) -> Level:
        rx, ry, grey_u, grey_v, depth_u, depth_v = np.empty((6, *grey.shape), np.float32)
        k, scale = self.camera, 2.0**level
        # Exact for centres at even pixels; the authors keep (columns - 1) / 2 at every level, half a pixel off.
        levels.connectivity(depth, *(np.float32(value / scale) for value in (k.fx, k.fy, k.cx, k.cy)), rx, ry)
        run_all(
            [
                partial(levels.gradients, grey, rx, ry, grey_u, grey_v),
                partial(levels.gradients, depth, rx, ry, depth_u, depth_v),
            ],
            self.threads,
        )
        levels.no_gradients_in_holes(depth, depth_u, depth_v)
        return Level(grey, depth, rx, ry, grey_u, grey_v, depth_u, depth_v)

    def solve(
        self, old: list[Level], new: list[Level], start: np.ndarray | None = None, hidden: np.ndarray | None = None
    ) -> np.ndarray:
        """(3, H, W) float32: image motion u, v in pixels and depth motion w in metres, on ``old``'s pixels.

        ``start``: the same, to begin from. ``hidden`` (H, W) bool: pixels known to be out of sight in ``new``; a masked
        schedule leaves their data terms out.
        """
        level = self.schedule.stages[0].level
        step = 2**level
        total = np.zeros((3, *old[level].grey.shape), np.float32)
        if start is not None:
            total[:] = start[:, ::step, ::step]
            total[:2] /= step
        duals = np.zeros((sweep.STATE_PLANES - sweep.P_D, *total.shape[1:]), np.float32)
        for stage in self.schedule.stages:
            if stage.level < level:
                total, duals = self._finer(total, duals)
                level = stage.level
            step = 2**level
            unseen = np.zeros(total.shape[1:], bool) if hidden is None else np.ascontiguousarray(hidden[::step, ::step])
            total, duals = self._stage(stage, (old[level], new[level], unseen), total, duals)
        for _ in range(level):
            total, duals = self._finer(total, duals)
        return total

    def _stage(
        self, stage: Stage, frames: tuple[Level, Level, np.ndarray], total: np.ndarray, duals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        old, new, hidden = frames
        plan, shape = self.schedule, total.shape[1:]
        constants, change = np.empty((sweep.CONSTANT_PLANES, *shape), np.float32), np.empty(shape, np.float32)
        weights = (np.float32(plan.lambda_i), np.float32(plan.lambda_d), np.float32(plan.mu))
        jump = np.float32(plan.jump_m if plan.masked else 0)
        before = (old.grey, old.depth, old.rx, old.ry)
        after = (new.grey, new.depth, new.grey_u, new.grey_v, new.depth_u, new.depth_v)
        spare = np.empty_like(total)
        for _ in range(stage.warps):
            if not plan.keep_duals:
                duals = np.zeros_like(duals)
            self._rows(levels.warp, before, after, total, constants, change, weights, jump, hidden)
            solved, duals = self._iterate(constants, total, duals, stage.iterations)
            self._rows(levels.accept, solved, total, old.depth, np.float32(plan.limit_px))
            if stage.median:
                self._rows(levels.weighted_median, total, old.depth, change, spare)
                total, spare = spare, total
        return total, duals

    def _rows(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """Call ``kernel(first, last, *arguments)`` on bands of rows."""
        rows = next(a.shape[-2] for a in arguments if isinstance(a, np.ndarray))
        run_rows(rows, self.threads, lambda first, last: kernel(first, last, *arguments))

    def _iterate(
        self, constants: np.ndarray, total: np.ndarray, duals: np.ndarray, iterations: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the primal-dual loop; returns (3, H, W) totals and (7, H, W) duals."""
        lambdas = (np.float32(self.schedule.lambda_i), np.float32(self.schedule.lambda_d))
        state = np.concatenate([total, total, duals])  # (13, H, W): the extrapolation starts at the value
        shares = bands(state.shape[1], self.threads)
        reach = min(BLOCK, iterations) + 1
        parts = [_Part(first, last, reach, state) for first, last in shares]
        for done in range(0, iterations, BLOCK):
            if done:
                _exchange_borders(parts)
            count = min(BLOCK, iterations - done)
            jobs = [partial(sweep.sweep, part.state, constants, part.first, count, *lambdas) for part in parts]
            run_all(jobs, self.threads)
        for part in parts:
            part.give(state)
        return state[:3], state[sweep.DUALS]

    def _finer(self, total: np.ndarray, duals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at the next finer level: image motion doubles, the duals go along as a warm start."""
        height, width = total.shape[1:]
        grown = np.empty((3, 2 * height, 2 * width), np.float32)
        grown_duals = np.empty((len(duals), 2 * height, 2 * width), np.float32)
        factors = (2, 2, 1)
        jobs = [partial(levels.grow, total[k], grown[k], np.float32(factors[k])) for k in range(3)]
        jobs += [partial(levels.grow, duals[k], grown_duals[k], np.float32(1)) for k in range(len(duals))]
        run_all(jobs, self.threads)
        return grown, grown_duals


def pyramid(grey: np.ndarray, depth: np.ndarray, count: int, *, threads: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """``count`` levels of a frame, finest first: (H, W) float32 grey 0..255 and metres; odd sides round up."""
    result = [(grey, depth)]
    for _ in range(count - 1):
        (fine_grey, fine_depth), half = result[-1], tuple((side + 1) // 2 for side in result[-1][0].shape)
        grey, depth = np.empty(half, np.float32), np.empty(half, np.float32)
        run_all(
            [partial(levels.shrink_grey, fine_grey, grey), partial(levels.shrink_depth, fine_depth, depth)], threads
        )
        result.append((grey, depth))
    return result


_NOTHING = np.empty((0, 0), np.float32)


class _Part:
    """The state of rows ``begin`` ... ``end`` - 1 with up to ``reach`` more on each side."""

    def __init__(self, begin: int, end: int, reach: int, state: np.ndarray) -> None:
        self.begin, self.end = begin, end
        self.first, self.last = max(0, begin - reach), min(state.shape[1], end + reach)
        whole = self.last - self.first == state.shape[1]
        self.state = state if whole else state[:, self.first : self.last].copy()

    def rows(self, begin: int, end: int) -> np.ndarray:
        return self.state[:, begin - self.first : end - self.first]

    def give(self, state: np.ndarray) -> None:
        if self.state is not state:
            state[:, self.begin : self.end] = self.rows(self.begin, self.end)


def _exchange_borders(parts: list[_Part]) -> None:
    """Every part takes the rows outside its own band from the part that owns them."""
    for part in parts:
        for owner in parts:
            begin, end = max(part.first, owner.begin), min(part.last, owner.end)
            if owner is not part and begin < end:
                part.rows(begin, end)[:] = owner.rows(begin, end)
