"""The job behind ``vidaff flow``: a stream of frames, or one pair, to files.

Two passes: the first computes and stores the flow, the second draws it. Only after the first is it known what the
largest motion of the clip is, by which the ``abs`` colours are scaled. One frame is in memory at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.calibration import Camera, read_camera
from vidaff.errors import VidaffError
from vidaff.flow3d.api import SceneFlow, scene_flow
from vidaff.flow3d.cameras import on_grid, parse_intrinsics
from vidaff.flow3d.colour import CODINGS, SIGNED_SCALE_M, encode_flow
from vidaff.flow3d.draw import depth_span, panel, write_clouds
from vidaff.flow3d.inputs import depth_metres
from vidaff.flow3d.store import INVALID, STEP_M, pack_flow, unpack_flow
from vidaff.flow3d.types import Flow, Intrinsics
from vidaff.frames import DEFAULT_VIEW_DEGREES, default_intrinsics
from vidaff.io import atomic_path, prepare_output_dir, read_depth_image, read_image, write_image, write_json
from vidaff.media import VideoWriter
from vidaff.sources import Source, SourceSettings, open_source

COLOUR_FOLDERS = ("color", "colour")
"""Names that RGB-D sets use beside ``depth/`` where ours is ``rgb/``."""


@dataclass(frozen=True)
class FlowSettings:
    """What ``vidaff flow`` is asked for.

    source: folder, prepared file or video; None with ``pair`` = (rgb0, depth0, rgb1, depth1). clip: name in a
    prepared file. backend, linear_lift: as for :func:`vidaff.flow3d.scene_flow`. fps: frames a second that are kept,
    0 = all. intrinsics: "fx,fy,cx,cy" or a YAML file. depth_scale: integer depth units per metre. coding: colour
    coding. scale: metres that saturate it, or "clip" or "frame" for ``abs``; None: 0.10 for ``signed``, "clip" for
    ``abs``. ply: write point clouds.
    """

    source: str | None
    out: Path
    pair: tuple[str, str, str, str] | None = None
    method: str = "pd-dis"
    backend: str = "auto"
    linear_lift: bool = False
    clip: str | None = None
    depth: str | None = None
    fps: float = 0.0
    intrinsics: str | None = None
    depth_scale: float = 1000.0
    coding: str = "signed"
    scale: str | None = None
    ply: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Step:
    """A frame with its flow: (H, W, 3) uint8, (H, W) metres or None, :class:`Flow`."""

    rgb: np.ndarray
    depth_m: np.ndarray | None
    flow: Flow


class FlowJob:
    """One run. Construction checks what can be checked before the first frame; ``notes`` say what was assumed.

    Raises :class:`VidaffError` for bad input.
    """

    def __init__(self, settings: FlowSettings) -> None:
        self.settings = settings
        self.notes: list[str] = []
        self._scale = _parse_scale(settings.coding, settings.scale)
        with _user_errors("vidaff flow"):
            self._record_settings = self._stream(Intrinsics(1, 1, 0, 0)).settings()
        _check_choice(settings)
        self._given = parse_intrinsics(settings.intrinsics) if settings.intrinsics else None
        self.source = None if settings.pair else self._open()
        if self.source is not None:
            self.notes += self.source.notes
            if settings.ply and not self.source.has_depth:
                raise VidaffError("--ply needs depth; give --depth or leave --ply out")
        if self._known_camera() is None:
            self.notes.append(f"no --intrinsics: a {DEFAULT_VIEW_DEGREES:g}-degree horizontal field of view is assumed")
        self._camera: Intrinsics | None = None
        self._solver: SceneFlow | None = None
        self.out = prepare_output_dir(settings.out, overwrite=settings.overwrite)

    @property
    def count(self) -> int | None:
        """Number of frames, None where it is not known."""
        return 1 if self.source is None else self.source.count

    def run(self, on_frame: Callable[[int], None] | None = None) -> int:
        """Compute, store and draw; ``on_frame`` is told the frames done, over both passes. Returns their number."""
        largest, count, span = np.zeros(3), 0, (0.0, 0.0)
        for count, step in enumerate(self._computed(), start=1):
            _save(self.out / "flow" / f"{count:06d}.npz", step.flow)
            largest = np.maximum(largest, np.abs(step.flow.flow).max(axis=(0, 1)))
            span = depth_span(step.depth_m) if count == 1 else span
            if on_frame is not None:
                on_frame(count)
        if not count:
            raise VidaffError(f"{self.settings.source}: holds no frames")
        scale = self._final_scale(largest)
        write_json(self.out / "flow.json", self._record(scale, largest))
        self._draw(count, scale, span, on_frame)
        return count

    def _computed(self) -> Iterator[Step]:
        if self.settings.pair is not None:
            yield self._pair_step
            return
        for rgb, depth_m in self._frames():
            if self._solver is None:
                self._solver = self._stream(self._fit_camera(rgb))
            with _user_errors(str(self.settings.source)):
                flow = self._solver.step(rgb, depth_m)
            yield Step(rgb, depth_m, flow)

    def _stream(self, camera: Intrinsics) -> SceneFlow:
        asked = self.settings
        return SceneFlow(camera, asked.method, backend=asked.backend, linear_lift=asked.linear_lift)

    @functools.cached_property
    def _pair_step(self) -> Step:
        assert self.settings.pair is not None  # asked for by the callers
        rgb0, depth0, rgb1, depth1 = self.settings.pair
        first, second = read_image(rgb0), read_image(rgb1)
        camera, scale = self._fit_camera(first), self.settings.depth_scale
        with _user_errors("--pair"):
            metres = [
                depth_metres(read_depth_image(path), path, shape=rgb.shape[:2], depth_scale=scale)
                for path, rgb in ((depth0, first), (depth1, second))
            ]
            flow = scene_flow(
                first, metres[0], second, metres[1], camera, method=self.settings.method,
                backend=self.settings.backend, linear_lift=self.settings.linear_lift,
            )  # fmt: skip
        return Step(first, metres[0], flow)

    def _frames(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Frames (H, W, 3) with depth (H, W) in metres."""
        for frame in self._open():
            depth = frame.depth
            if depth is None:
                if self._stream(Intrinsics(1, 1, 0, 0)).needs_depth:
                    raise VidaffError(f"{self.settings.source}: has no depth; use --method dis2d, or give --depth")
                yield frame.rgb, None
                continue
            scale = self.settings.depth_scale if depth.dtype.kind in "ui" else None
            with _user_errors(f"{self.settings.source}: frame {frame.index + 1}"):
                metres = depth_metres(depth, "depth", shape=frame.rgb.shape[:2], depth_scale=scale)
            yield frame.rgb, metres

    def _open(self) -> Source:
        settings = self.settings
        assert settings.source is not None  # checked on construction
        asked = SourceSettings(settings.source, clip=settings.clip, depth=settings.depth, fps=settings.fps)
        folder = Path(settings.source)
        colours = [folder / name for name in COLOUR_FOLDERS if (folder / name).is_dir()]
        if colours and not (folder / "rgb").is_dir():
            beside = folder / "depth"
            depth = settings.depth or (str(beside) if beside.is_dir() else None)
            if self._given is None and (folder / "intrinsics.yaml").is_file():
                self._given = read_camera(folder / "intrinsics.yaml")
            asked = replace(asked, source=str(colours[0]), depth=depth)
        return open_source(asked)

    def _fit_camera(self, rgb: np.ndarray) -> Intrinsics:
        size = (rgb.shape[0], rgb.shape[1])
        known = self._known_camera()
        self._camera = default_intrinsics(*size) if known is None else on_grid(known, size)
        return self._camera

    def _known_camera(self) -> Intrinsics | Camera | None:
        return self._given or (self.source.camera if self.source is not None else None)

    def _final_scale(self, largest: np.ndarray) -> Any:
        """What :func:`encode_flow` divides by: metres, metres per axis, or "frame"."""
        return np.maximum(largest, STEP_M) if self._scale == "clip" else self._scale

    def _record(self, scale: Any, largest: np.ndarray) -> dict[str, Any]:
        """Content of ``flow.json``: all that is needed to read the files."""
        assert self._camera is not None  # the first frame set it
        return {
            "flow": self._record_settings,
            "unit_m": STEP_M,
            "invalid": INVALID,
            "axes": ["X right", "Y down", "Z away"],
            "on": "the first frame, towards the second" if self.settings.pair else "each frame, from the one before",
            "intrinsics": self._camera.as_dict(),
            "fps": self.source.fps if self.source is not None else None,
            "coding": self.settings.coding,
            "scale_m": scale.tolist() if isinstance(scale, np.ndarray) else scale,
            "largest_m": largest.tolist(),
        }

    def _draw(self, count: int, scale: Any, span: tuple[float, float], on_frame: Callable[[int], None] | None) -> None:
        """Second pass: colour pictures, the side-by-side video (a picture for a pair), point clouds."""
        with ExitStack() as stack:
            video: VideoWriter | None = None
            for number, (rgb, depth_m) in enumerate(self._again(), start=1):
                flow = _load(self.out / "flow" / f"{number:06d}.npz")
                colour = encode_flow(flow.flow, flow.valid, self.settings.coding, scale)
                write_image(self.out / "colour" / f"{number:06d}.png", colour)
                side = panel(rgb, depth_m, colour, span)
                if self.source is None:
                    write_image(self.out / "flow.png", side)
                else:
                    video = video or stack.enter_context(
                        VideoWriter(self.out / "flow.mp4", self.source.fps, (side.shape[0], side.shape[1]))
                    )
                    video.write(side)
                self._clouds(number, rgb, depth_m, flow)
                if on_frame is not None:
                    on_frame(count + number)

    def _again(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if self.settings.pair is None:
            yield from self._frames()
        else:
            yield self._pair_step.rgb, self._pair_step.depth_m

    def _clouds(self, number: int, rgb: np.ndarray, depth_m: np.ndarray | None, flow: Flow) -> None:
        if not self.settings.ply:
            return
        assert self._camera is not None  # the first pass set it
        assert depth_m is not None  # a source without depth was refused
        stem = self.out / "ply" / f"{number:06d}"
        write_clouds(stem, rgb, depth_m, flow, self._camera, arriving=self.settings.pair is None)


def _check_choice(settings: FlowSettings) -> None:
    if (settings.source is None) == (settings.pair is None):
        raise VidaffError("give either SOURCE or --pair RGB0 DEPTH0 RGB1 DEPTH1")
    for option, given in (("--clip", settings.clip), ("--depth", settings.depth), ("--fps", settings.fps)):
        if settings.pair is not None and given:
            raise VidaffError(f"{option} belongs to SOURCE, not to --pair")


@contextmanager
def _user_errors(where: str) -> Iterator[None]:
    """The library's ``ValueError`` as a :class:`VidaffError` that says where."""
    try:
        yield
    except ValueError as error:
        raise VidaffError(f"{where}: {error}") from error


def _save(path: Path, flow: Flow) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, flow=pack_flow(flow.flow, flow.valid))


def _load(path: Path) -> Flow:
    with np.load(path, allow_pickle=False) as archive:
        return unpack_flow(archive["flow"])


def _parse_scale(coding: str, text: str | None) -> float | str:
    if coding not in CODINGS:
        raise VidaffError(f"unknown coding {coding!r}; known: {', '.join(CODINGS)}")
    if text is None:
        return SIGNED_SCALE_M if coding == "signed" else "clip"
    if text in ("clip", "frame"):
        if coding == "signed":
            raise VidaffError(f"--scale {text}: coding 'signed' needs metres, for example --scale 0.1")
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = 0.0
    if not STEP_M <= metres < float("inf"):
        raise VidaffError(f"--scale {text!r}: write metres (at least {STEP_M:g}), clip or frame")
    return metres
