"""Methods ``pd`` (the authors' schedule) and ``pd-dis`` (ours, the default), on either backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import numpy as np

from vidaff.flow3d.lift import lift, plausible
from vidaff.flow3d.pd import levels, sweep
from vidaff.flow3d.pd.compiling import say_if_compiling
from vidaff.flow3d.pd.numba_solver import Level, NumbaSolver, pyramid
from vidaff.flow3d.pd.schedule import Schedule, Stage, authors
from vidaff.flow3d.pd.start import Start, Starter, search_levels
from vidaff.flow3d.pd.start import settings as start_settings
from vidaff.flow3d.pd.threads import usable_cores
from vidaff.flow3d.still import zero_flow
from vidaff.flow3d.types import Flow, Intrinsics

LEAST_SIDE = 16
"""Smaller pictures are padded: the filters need some room."""
OURS = Schedule((Stage(0, 10, warps=2),), lambda_d=1.0, mu=30.0, keep_duals=False, masked=True)
"""After a good start few iterations at the finest level do, warped anew in between.

Differences from the authors' schedule, each measured on analytic scenes (flow card): duals are forgotten at each warp
(they belong to the linearisation before), depth motion is smoothed more, data terms of hidden pixels are left out.
"""
MAX_MOTION_M = 0.5
"""A component of more than this in one frame is a wrong match."""


class Frame(NamedTuple):
    """A prepared frame: grey (H, W) uint8 and depth (H, W) metres, both padded, their size before, and pyramids.

    ``pictures``: levels of (grey float32, depth); ``solved``: what the backend made of them.
    """

    grey: np.ndarray
    depth_m: np.ndarray
    size: tuple[int, int]
    pictures: list[tuple[np.ndarray, np.ndarray]]
    solved: Any


class Solver(Protocol):
    """A backend: makes its own form of a pyramid once per frame, and solves pairs of them.

    ``starts`` (3, H, W) float32 and ``hidden`` (H, W) bool per pair, or None; results (3, H, W) float32.
    """

    def frame(self, pictures: list[tuple[np.ndarray, np.ndarray]]) -> Any: ...

    def solve_all(
        self, old: list[Any], new: list[Any], starts: list[np.ndarray] | None, hidden: list[np.ndarray] | None
    ) -> list[np.ndarray]: ...


class PdFlow:
    """The authors' schedule: coarse to fine from zero motion, one warp a level.

    Valid wherever frame 0 has depth and the motion is plausible; the solver fills in what it cannot see.

    Source: Jaimez et al., ICRA 2015, with the numbers of the authors' program; any size (padded) and any camera.
    """

    needs_depth = True
    backends: tuple[str, ...] = ("numba", "torch")
    linear_lift = False

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None:
        self.intrinsics = intrinsics
        self.backend = "numba" if backend == "auto" else backend
        self.threads = usable_cores()
        self._solvers: dict[Schedule, Solver] = {}

    def schedule(self, height: int, width: int) -> Schedule:
        return authors(min(height, width))

    def prepare(self, grey: np.ndarray, depth_m: np.ndarray | None) -> Frame:
        if depth_m is None:
            raise ValueError("depth: this method needs it in both frames")
        height, width = grey.shape
        count = self._levels(height, width)
        pad = _padding(height, width, 2 ** (self.schedule(height, width).stages[0].level))
        grey, depth_m = np.pad(grey, pad, "edge"), np.pad(depth_m, pad)
        pictures = pyramid(grey.astype(np.float32), depth_m, count, threads=self.threads)
        return Frame(grey, depth_m, (height, width), pictures, self._solver(height, width).frame(pictures))

    def between(self, frame0: Frame, frame1: Frame) -> Flow:
        return self.between_batch([frame0], [frame1])[0]

    def between_batch(self, frames0: Sequence[Frame], frames1: Sequence[Frame]) -> list[Flow]:
        """Flow of several pairs of one size; the torch backend solves them together."""
        starts = self._starts(frames0, frames1)
        totals = self._solver(*frames0[0].size).solve_all(
            [frame.solved for frame in frames0],
            [frame.solved for frame in frames1],
            [start.total for start in starts] if starts else None,
            [start.hidden for start in starts] if starts else None,
        )
        trusted = [start.trusted for start in starts] if starts else [None] * len(totals)
        return [self._lift(*each) for each in zip(frames0, totals, trusted, strict=True)]

    def still(self, frame: Frame) -> Flow:
        height, width = frame.size
        return zero_flow(frame.size, frame.depth_m[:height, :width])

    def settings(self) -> dict[str, Any]:
        # The schedule of a size follows from the method's name; its numbers are those of the paper's resolution.
        values = {
            "schedule": asdict(self.schedule(240, 320)),
            "levels": levels.settings(),
            "least_side": LEAST_SIDE,
            "max_motion_m": MAX_MOTION_M,
        }
        return {**values, "linear_lift": True} if self.linear_lift else values

    def _levels(self, height: int, width: int) -> int:
        return self.schedule(height, width).stages[0].level + 1

    def _starts(self, frames0: Sequence[Frame], frames1: Sequence[Frame]) -> list[Start]:
        del frames0, frames1
        return []

    def _solver(self, height: int, width: int) -> Solver:
        schedule = self.schedule(height, width)
        if schedule not in self._solvers:
            self._solvers[schedule] = make_solver(self.backend, self.intrinsics, schedule, self.threads)
        return self._solvers[schedule]

    def _lift(self, frame: Frame, total: np.ndarray, trusted: np.ndarray | None) -> Flow:
        height, width = frame.size
        depth = frame.depth_m[:height, :width]
        valid = depth > 0 if trusted is None else (depth > 0) & trusted[:height, :width]
        u, v, w = total[:, :height, :width]
        w = np.where(valid, w, np.float32(0))
        motion = np.stack([u, v], axis=-1)
        return plausible(lift(motion, depth, w, valid, self.intrinsics, linear=self.linear_lift), MAX_MOTION_M)


class PdDisFlow(PdFlow):
    """A coarse exhaustive search and DIS find the motion, a few re-warped iterations refine it.

    Valid where frame 0 has depth, unless a refused match had nothing of its surface around; hidden pixels take the
    motion of their surface.
    """

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None:
        super().__init__(intrinsics, backend)
        self._starter = Starter(intrinsics, threads=self.threads)

    def schedule(self, height: int, width: int) -> Schedule:
        del height, width
        return OURS

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "start": start_settings()}

    def _levels(self, height: int, width: int) -> int:
        return search_levels(height, width)

    def _starts(self, frames0: Sequence[Frame], frames1: Sequence[Frame]) -> list[Start]:
        return [self._start(*pair) for pair in zip(frames0, frames1, strict=True)]

    def _start(self, frame0: Frame, frame1: Frame) -> Start:
        factor = 2 ** (len(frame0.pictures) - 1)
        full = (frame0.grey, frame0.depth_m), (frame1.grey, frame1.depth_m)
        return self._starter.start(full, (frame0.pictures[-1], frame1.pictures[-1]), factor)


class NumbaBackend:
    """Solves on CPU threads."""

    def __init__(self, camera: Intrinsics, schedule: Schedule, threads: int) -> None:
        self._solver = NumbaSolver(camera, schedule, threads=threads)

    def frame(self, pictures: list[tuple[np.ndarray, np.ndarray]]) -> list[Level]:
        return self._solver.frame(pictures)

    def solve_all(
        self,
        old: list[list[Level]],
        new: list[list[Level]],
        starts: list[np.ndarray] | None,
        hidden: list[np.ndarray] | None,
    ) -> list[np.ndarray]:
        nothing: list[Any] = [None] * len(old)
        pairs = zip(old, new, starts or nothing, hidden or nothing, strict=True)
        return [self._solver.solve(*pair) for pair in pairs]


class TorchBackend:
    """Solves a batch on the GPU where there is one, else on the CPU, as the readable reference."""

    def __init__(self, camera: Intrinsics, schedule: Schedule) -> None:
        import torch

        self.camera, self.schedule = camera, schedule
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def frame(self, pictures: list[tuple[np.ndarray, np.ndarray]]) -> Any:
        from vidaff.flow3d.pd.torch_solver import build_pyramid

        grey, depth = pictures[0]
        return build_pyramid(self._tensor([grey]), self._tensor([depth]), self.schedule.stages[0].level + 1)

    def solve_all(
        self, old: list[Any], new: list[Any], starts: list[np.ndarray] | None, hidden: list[np.ndarray] | None
    ) -> list[np.ndarray]:
        import torch

        from vidaff.flow3d.pd.torch_solver import TorchFrame, solve

        def joined(frames: list[Any]) -> TorchFrame:
            return TorchFrame(
                *(tuple(map(torch.cat, zip(*planes, strict=True))) for planes in zip(*frames, strict=True))
            )

        start = None if starts is None else tuple(self._tensor([each[k] for each in starts]) for k in range(3))
        unseen = None if hidden is None else self._tensor(hidden)
        planes = solve(joined(old), joined(new), self.camera, self.schedule, start, unseen)
        return list(torch.stack(planes, dim=1).cpu().numpy())

    def _tensor(self, arrays: list[np.ndarray]) -> Any:
        import torch

        return torch.from_numpy(np.stack(arrays)).to(self.device)


def make_solver(backend: str, camera: Intrinsics, schedule: Schedule, threads: int) -> Solver:
    """``backend``: "numba" or "torch"."""
    if backend == "torch":
        return TorchBackend(camera, schedule)
    say_if_compiling(sweep.sweep)
    return NumbaBackend(camera, schedule, threads)


def _padding(height: int, width: int, multiple: int) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = (max(LEAST_SIDE, -(-side // multiple) * multiple) - side for side in (height, width))
    return (0, rows), (0, columns)
