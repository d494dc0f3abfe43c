"""The streaming job behind ``vidaff infer``: source, segmenter, writers; one frame in memory at a time."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.cameras import on_grid, parse_intrinsics
from vidaff.frames import DEFAULT_VIEW_DEGREES, FrameError, default_intrinsics, wxh
from vidaff.io import prepare_output_dir
from vidaff.predict import MissingDepthWarning, VideoSegmenter
from vidaff.sources import Source, SourceFrame, SourceSettings, open_source
from vidaff.visualize import OverlayPainter
from vidaff.writers import (
    Segmented,
    Write,
    clear_outputs,
    label_pictures,
    overlay_picture,
    overlay_video,
    point_clouds,
    probability_files,
    timeline,
)


@dataclass(frozen=True)
class InferSettings:
    """What to run on what, and what to write.

    checkpoint: path, shipped name or hub id. out: folder, must be new or empty unless ``overwrite``.
    depth_model: transformers depth model for sources without depth. assumed_depth: metres, see
    :class:`vidaff.predict.VideoSegmenter`. intrinsics: "fx,fy,cx,cy" in pixels of the source, or a YAML file.
    size: model input (height, width) other than the recipe's. confidence: only pixels above it are painted, 0 = all.
    """

    source: SourceSettings
    checkpoint: str
    out: Path
    depth_model: str | None = None
    assumed_depth: float = 0.6
    intrinsics: str | None = None
    size: tuple[int, int] | None = None
    video: bool = True
    labels: bool = True
    probs: bool = False
    ply: bool = False
    confidence: float = 0.75
    device: str = "auto"
    precision: str = "auto"
    overwrite: bool = False


@dataclass
class InferSummary:
    """What was done: frames, their mean processing rate, seconds overall, whether Ctrl-C ended it, actions seen."""

    out: Path
    frames: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    actions: dict[str, int] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        """Frames a second, reading and writing included."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class InferJob:
    """One inference run. Construction checks everything that can be checked before the first frame.

    ``notes`` say, for the user, what had to be assumed. Raises :class:`VidaffError` for bad input.
    """

    def __init__(self, settings: InferSettings) -> None:
        self.settings = settings
        self.camera = None if settings.intrinsics is None else parse_intrinsics(settings.intrinsics)
        self.source = open_source(settings.source)
        self.segmenter = VideoSegmenter.from_pretrained(
            settings.checkpoint,
            device=settings.device,
            precision=settings.precision,
            size=settings.size,
            assumed_depth_m=settings.assumed_depth,
        )
        self._estimate = self._depth_model()
        self._check_depth()
        self.notes = [*self.source.notes, *self._assumptions()]
        self.out = prepare_output_dir(settings.out, overwrite=settings.overwrite)

    def run(self, on_frame: Callable[[Segmented], None] | None = None) -> InferSummary:
        """Process the source to its end, to ``max_frames``, or to Ctrl-C, which keeps all complete frames.

        Raises:
            VidaffError: the source turned out damaged; what was done until then is complete and kept.
        """
        summary, failure = InferSummary(self.out), None
        clear_outputs(self.out)
        started = time.perf_counter()
        with stop_on_ctrl_c() as stopped, ExitStack() as stack:
            writes: list[Write] = []
            try:
                for frame in self._segmented():
                    writes = writes or [stack.enter_context(writer) for writer in self._writers(frame)]
                    for write in writes:
                        write(frame)
                    summary.frames = frame.number
                    if frame.result.action:
                        summary.actions[frame.result.action] = summary.actions.get(frame.result.action, 0) + 1
                    if on_frame is not None:
                        on_frame(frame)
                    if stopped():
                        summary.interrupted = True
                        break
            except SourceFailure as error:
                failure = error
        summary.seconds = time.perf_counter() - started
        if failure is not None:
            kept = f"; the {summary.frames} frames before it are complete in {self.out}" if summary.frames else ""
            raise VidaffError(f"{failure}{kept}")
        if not summary.frames and not summary.interrupted:
            raise VidaffError(f"{self.source.name}: holds no frames")
        return summary

    def _segmented(self) -> Iterator[Segmented]:
        segment = self.segmenter.segment_image if self.source.is_picture else self.segmenter.step
        for number, frame in enumerate(guarded(iter(self.source)), start=1):
            if number == 1:
                self.segmenter.intrinsics = self._intrinsics((frame.rgb.shape[0], frame.rgb.shape[1]))
            started = time.perf_counter()
            depth = frame.depth
            if depth is None and self._estimate is not None:
                depth = self._estimate(frame.rgb)
            with warnings.catch_warnings():
                # The job says this itself, once, before the first frame.
                warnings.simplefilter("ignore", MissingDepthWarning)
                try:
                    result = segment(frame.rgb, depth)
                except FrameError as error:
                    raise SourceFailure(f"{self.source.name}: frame {frame.index + 1}: {error}") from error
            ms = (time.perf_counter() - started) * 1000
            yield Segmented(number, frame.index, frame.time, frame.rgb, depth, result, ms)

    def _writers(self, frame: Segmented) -> list[AbstractContextManager[Write]]:
        settings, size = self.settings, (frame.rgb.shape[0], frame.rgb.shape[1])
        classes = self.segmenter.taxonomy
        writers: list[AbstractContextManager[Write]] = [timeline(self.out / "timeline.csv", classes)]
        if settings.video:
            actions = self.segmenter.tells_actions
            painter = OverlayPainter(size, threshold=settings.confidence, taxonomy=classes, actions=actions)
            if self.source.is_picture:
                writers.append(overlay_picture(self.out / "overlay.png", painter))
            else:
                writers.append(overlay_video(self.out / "overlay.mp4", self.source.fps, painter))
        if settings.labels:
            writers.append(label_pictures(self.out / "labels", classes))
        if settings.probs:
            writers.append(probability_files(self.out / "probs"))
        if settings.ply:
            camera = self.segmenter.intrinsics or default_intrinsics(*size)
            writers.append(point_clouds(self.out / "ply", camera, settings.confidence, classes))
        return writers

    def _intrinsics(self, size: tuple[int, int]) -> Intrinsics | None:
        """Camera of the source's pixel grid: the option, else what the source says, else None (the default view)."""
        return on_grid(self.camera, size) if self.camera is not None else self.source.camera

    def _depth_model(self) -> Callable[[np.ndarray], np.ndarray] | None:
        settings = self.settings
        if settings.depth_model is None:
            return None
        from vidaff.depth_estimation import DepthEstimator

        return DepthEstimator(
            settings.depth_model, device=self.segmenter.device, assumed_depth_m=settings.assumed_depth
        )

    def _check_depth(self) -> None:
        if self.settings.ply and not self.source.has_depth and self._estimate is None:
            raise VidaffError("--ply needs depth: give --depth, or a --depth-model that estimates it")

    def _assumptions(self) -> list[str]:
        notes = []
        moves = self.segmenter.flow_method != "none" and not self.source.is_picture
        if (moves or self.settings.ply) and self.camera is None and self.source.camera is None:
            notes.append(f"no --intrinsics: a {DEFAULT_VIEW_DEGREES:g}-degree horizontal field of view is assumed")
        if self.segmenter.needs_depth and not self.source.has_depth and self._estimate is None:
            lifted = f", and motion is taken to be {self.settings.assumed_depth:g} m away"
            notes.append(
                "WARNING: the checkpoint was trained with depth and the source has none, so quality suffers: depth "
                f"counts as missing{lifted if self.segmenter.flow_method != 'none' else ''}. "
                "--depth-model NAME estimates depth"
            )
        crop = (self.segmenter.info.get("view") or {}).get("centre_crop")
        if crop and self.settings.size is None:
            notes.append(
                f"the checkpoint was trained on the centre {crop}x{crop} pixels of its pictures, seen at "
                f"{wxh(self.segmenter.size)}; --size HEIGHTxWIDTH shows larger pictures at that scale"
            )
        return notes


class SourceFailure(VidaffError):
    """The source cannot be read on; unlike a failing writer, this leaves all outputs so far complete."""


def guarded(frames: Iterator[SourceFrame]) -> Iterator[SourceFrame]:
    """Pass frames on; errors of reading become :class:`SourceFailure`."""
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except VidaffError as error:
            raise SourceFailure(str(error)) from error
        yield frame


@contextmanager
def stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that is looked at between frames; a second one interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return

    def handle(number: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def infer(settings: InferSettings, *, say: Callable[[str], None] = print) -> InferSummary:
    """Run inference as ``settings`` say; assumptions are told through ``say``. Raises :class:`VidaffError`."""
    job = InferJob(settings)
    for note in job.notes:
        say(note)
    return job.run()


__all__ = ["InferJob", "InferSettings", "InferSummary", "Source", "infer"]
