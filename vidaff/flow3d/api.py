"""The two entry points, :func:`scene_flow` for a pair and :class:`SceneFlow` for a stream, over one method registry."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np

from vidaff.flow3d.inputs import depth_metres, grey_image
from vidaff.flow3d.types import Flow, Intrinsics

METHODS: dict[str, str] = {
    "pd-dis": "vidaff.flow3d.pd.method:PdDisFlow",
    "pd": "vidaff.flow3d.pd.method:PdFlow",
    "dis": "vidaff.flow3d.dis:DisFlow",
    "dis-still": "vidaff.flow3d.dis:DisStillFlow",
    "dis2d": "vidaff.flow3d.dis:DisFlow2D",
    "none": "vidaff.flow3d.still:NoFlow",
}
"""Method name -> "module:Class", imported when asked for. A class follows :class:`Method`."""


class Method(Protocol):
    """What a scene flow method provides.

    ``needs_depth``: whether :meth:`prepare` may be given None. ``backends``: names it accepts beside "auto". A method
    that lifts image motion to metres also has an attribute ``linear_lift``, False unless asked for.
    """

    needs_depth: bool
    backends: tuple[str, ...]

    def __init__(self, intrinsics: Intrinsics, backend: str) -> None: ...

    def prepare(self, grey: np.ndarray, depth_m: np.ndarray | None) -> Any:
        """Per-frame work (pyramids), done once per frame in a stream; grey (H, W) uint8, depth (H, W) float32 m."""

    def between(self, frame0: Any, frame1: Any) -> Flow:
        """Flow on frame 0's pixels, pointing to frame 1, of two prepared frames."""

    def still(self, frame: Any) -> Flow:
        """Zero flow of a prepared frame without a partner."""

    def settings(self) -> dict[str, Any]:
        """Every number that changes the result, JSON-able, for the stored data."""


def make_method(name: str, intrinsics: Intrinsics, backend: str = "auto", *, linear_lift: bool = False) -> Method:
    """Build a registered method; ``ValueError`` naming ``method``, ``backend`` or ``linear_lift`` when not possible."""
    if name not in METHODS:
        raise ValueError(f"method: unknown {name!r}; known: {', '.join(METHODS)}")
    if not isinstance(intrinsics, Intrinsics):
        raise ValueError(f"intrinsics: must be vidaff.flow3d.Intrinsics, got {type(intrinsics).__name__}")
    module, _, class_name = METHODS[name].partition(":")
    kind: type[Method] = getattr(importlib.import_module(module), class_name)
    if backend != "auto" and backend not in kind.backends:
        raise ValueError(f"backend: {backend!r} is not one of auto, {', '.join(kind.backends)} for method {name!r}")
    solver = kind(intrinsics, backend)
    if linear_lift:
        if not hasattr(solver, "linear_lift"):
            raise ValueError(f"linear_lift: method {name!r} does not lift with depth")
        solver.linear_lift = True
    return solver


def scene_flow(
    rgb0: np.ndarray,
    depth0: np.ndarray | None,
    rgb1: np.ndarray,
    depth1: np.ndarray | None,
    intrinsics: Intrinsics,
    *,
    method: str = "pd-dis",
    backend: str = "auto",
    depth_scale: float | None = None,
    linear_lift: bool = False,
) -> Flow:
    """Scene flow from frame 0 to frame 1, on frame 0's pixels.

    ``rgb0``, ``rgb1``: (H, W, 3) RGB or (H, W) grey, uint8, any size. ``depth0``, ``depth1``: (H, W) on the same
    grid, float metres (0, NaN, infinity = missing), or integers with ``depth_scale`` units per metre; None only
    for methods without depth. ``backend``: "numba" or "torch" for the PD methods. ``linear_lift``: lift to metres as
    the authors' program does, instead of exactly. Returns :class:`Flow`: (H, W, 3) float32 metres per frame pair and
    (H, W) bool.
    Raises ``ValueError`` naming the argument: sizes that differ, wrong types, a median depth above 50 m, ...

    Source: PD-Flow (Jaimez et al., ICRA 2015) fixes the convention: reference frame first, flow on its pixels.
    """
    solver = make_method(method, intrinsics, backend, linear_lift=linear_lift)
    grey0, grey1 = grey_image(rgb0, "rgb0"), grey_image(rgb1, "rgb1")
    if grey1.shape != grey0.shape:
        raise ValueError(f"rgb1: must have rgb0's size {grey0.shape}, got {grey1.shape}")
    metres0 = _depth(depth0, "depth0", solver, grey0.shape, depth_scale)
    metres1 = _depth(depth1, "depth1", solver, grey0.shape, depth_scale)
    return solver.between(solver.prepare(grey0, metres0), solver.prepare(grey1, metres1))


class SceneFlow:
    """Scene flow of a stream, frame by frame, in constant memory.

    The flow of :meth:`step` lives on the CURRENT frame's pixels, so it lines up with that frame's picture and
    depth, and tells how each point moved to get there: minus the flow from the current to the previous frame.
    """

    def __init__(
        self,
        intrinsics: Intrinsics,
        method: str = "pd-dis",
        *,
        backend: str = "auto",
        depth_scale: float | None = None,
        linear_lift: bool = False,
    ) -> None:
        self.method = method
        self.intrinsics = intrinsics
        self.depth_scale = depth_scale
        self._solver = make_method(method, intrinsics, backend, linear_lift=linear_lift)
        self._previous: Any = None
        self._shape: tuple[int, ...] | None = None

    @property
    def needs_depth(self) -> bool:
        """Whether :meth:`step` must be given depth."""
        return self._solver.needs_depth

    def step(self, rgb: np.ndarray, depth_m: np.ndarray | None = None) -> Flow:
        """Take the next frame: ``rgb`` (H, W, 3) or (H, W) uint8, ``depth_m`` as in :func:`scene_flow`.

        The first call returns zero flow, valid where depth is (everywhere for a method without depth). Raises
        ``ValueError`` naming the argument; the stream then stays as it was.
        """
        grey = grey_image(rgb, "rgb")
        if self._shape is not None and grey.shape != self._shape:
            raise ValueError(f"rgb: the stream began with size {self._shape}, got {grey.shape}; call reset() first")
        depth = _depth(depth_m, "depth_m", self._solver, grey.shape, self.depth_scale)
        current = self._solver.prepare(grey, depth)
        if self._previous is None:
            result = self._solver.still(current)
        else:
            flow, valid = self._solver.between(current, self._previous)
            result = Flow(np.negative(flow, out=flow), valid)
        self._previous, self._shape = current, grey.shape
        return result

    def reset(self) -> None:
        """Forget the previous frame: the next :meth:`step` starts a new clip, of any size."""
        self._previous, self._shape = None, None

    def settings(self) -> dict[str, Any]:
        """Method name and every number that changes the flow (not the camera), to be stored with the data."""
        return {"method": self.method, **self._solver.settings()}


def _depth(
    depth: np.ndarray | None, name: str, solver: Method, shape: tuple[int, ...], depth_scale: float | None
) -> np.ndarray | None:
    if depth is None:
        if solver.needs_depth:
            raise ValueError(f"{name}: this method needs depth; use method 'dis2d' or 'none' without")
        return None
    return depth_metres(depth, name, shape=shape, depth_scale=depth_scale)
