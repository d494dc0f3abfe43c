"""What is compared: our registered methods with each of their backends, and OpenCV's flows lifted with depth."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidaff.flow3d.analytic import Pair, make_pair
from vidaff.flow3d.api import METHODS, Method, make_method
from vidaff.flow3d.inputs import grey_image
from vidaff.flow3d.lift import lift, sample_depth
from vidaff.flow3d.still import zero_flow
from vidaff.flow3d.types import Flow, Intrinsics

JUMP_M = 0.05
"""Depth step at which the plain lift stops interpolating, as in method ``dis``."""
PROBE_SIZE = (96, 128)
CANNOT_RUN = (ImportError, AttributeError, RuntimeError, ValueError, cv2.error)
"""What a backend, or an OpenCV without its contrib modules, answers on a machine that lacks what it needs."""

Run = Callable[[Pair], Flow]
Motion2D = Callable[[Pair], np.ndarray]


class Entry(NamedTuple):
    """A row to be: ``make`` builds, for a camera, what turns a pair into its flow.

    ``method`` and ``backend`` are empty for what is not ours.
    """

    name: str
    make: Callable[[Intrinsics], Run]
    method: str = ""
    backend: str = ""


def plain_lift(motion: np.ndarray, pair: Pair) -> Flow:
    """Image motion (H, W, 2) pixels to metres with the two depth maps; nothing is cleaned."""
    sampled = sample_depth(pair.depth1, motion, jump_m=JUMP_M)
    valid = (pair.depth0 > 0) & (sampled > 0)
    return lift(motion, pair.depth0, sampled - pair.depth0, valid, pair.intrinsics)


def _lifted(build: Callable[[], Motion2D]) -> Callable[[Intrinsics], Run]:
    def make(camera: Intrinsics) -> Run:
        del camera
        motion = build()
        return lambda pair: plain_lift(motion(pair), pair)

    return make


def _on_grey(calc: Callable[..., np.ndarray], *settings: Any) -> Motion2D:
    return lambda pair: calc(grey_image(pair.rgb0, "rgb0"), grey_image(pair.rgb1, "rgb1"), None, *settings)


BASELINES: dict[str, Callable[[Intrinsics], Run]] = {
    "zero": lambda camera: lambda pair: zero_flow(pair.valid.shape, pair.depth0),
    "true-2d": _lifted(lambda: lambda pair: pair.motion),
    "opencv-dis": _lifted(lambda: _on_grey(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc)),
    "opencv-farneback": _lifted(lambda: _on_grey(cv2.calcOpticalFlowFarneback, 0.5, 5, 15, 3, 5, 1.2, 0)),
    "opencv-tvl1": _lifted(lambda: _on_grey(cv2.optflow.createOptFlow_DualTVL1().calc)),
    "opencv-rlof": _lifted(lambda: lambda pair: cv2.optflow.calcOpticalFlowDenseRLOF(pair.rgb0, pair.rgb1, None)),
    "opencv-deepflow": _lifted(lambda: _on_grey(cv2.optflow.createOptFlow_DeepFlow().calc)),
}
"""Zero flow, and image motion lifted with depth: the true one, and OpenCV's at their default settings.

Farneback has no defaults: half-size pyramid of 5 levels, window 15, 3 iterations, polynomials over 5 pixels, sigma 1.2.
"""


def backends_of(name: str) -> tuple[str, ...]:
    """Backends of a registered method that uses depth; none of one that does not, or that cannot be imported."""
    module, _, class_name = METHODS[name].partition(":")
    try:
        kind: type[Method] = getattr(importlib.import_module(module), class_name)
    except ImportError:
        return ()
    return kind.backends if kind.needs_depth else ()


def all_entries() -> list[Entry]:
    """Ours, then :data:`BASELINES`; what does not run on this machine included."""
    ours = [entry_of(f"{name}, {backend}") for name in METHODS for backend in backends_of(name)]
    return ours + [entry_of(name) for name in BASELINES]


def entry_of(name: str) -> Entry:
    """The entry of a row's name: "method, backend", or one of :data:`BASELINES`."""
    if name in BASELINES:
        return Entry(name, BASELINES[name])
    method_name, _, backend = name.partition(", ")

    def make(camera: Intrinsics) -> Run:
        method = make_method(method_name, camera, backend)
        return lambda pair: method.between(*prepared(method, pair))

    return Entry(name, make, method_name, backend)


def prepared(method: Method, pair: Pair) -> tuple[Any, Any]:
    """Both frames of a pair as ``method`` wants them."""
    first = method.prepare(grey_image(pair.rgb0, "rgb0"), pair.depth0)
    return first, method.prepare(grey_image(pair.rgb1, "rgb1"), pair.depth1)


def choose(
    methods: Sequence[str] | None = None, backends: Sequence[str] | None = None
) -> tuple[list[Entry], list[str]]:
    """Entries that run on this machine, and a note for each one wanted that does not.

    ``methods``: names of ours or of :data:`BASELINES`, ``backends`` of ours; None means all. Raises ``ValueError``
    naming ``methods`` when one is unknown.
    """
    entries = all_entries()
    unknown = set(methods or ()) - {entry.method or entry.name for entry in entries}
    if unknown:
        known = dict.fromkeys(entry.method or entry.name for entry in entries)
        raise ValueError(f"methods: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    chosen, notes = [], []
    for entry in entries:
        if methods is not None and (entry.method or entry.name) not in methods:
            continue
        if entry.backend and backends is not None and entry.backend not in backends:
            continue
        trouble = why_not(entry)
        if trouble:
            notes.append(f"{entry.name} left out: {trouble}")
        else:
            chosen.append(entry)
    return chosen, notes


def why_not(entry: Entry) -> str:
    """Empty when ``entry`` works on a small pair, else the reason in one line. Compiles what compiles when used."""
    pair = make_pair("ball", size=PROBE_SIZE)
    try:
        entry.make(pair.intrinsics)(pair)
    except CANNOT_RUN as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""
