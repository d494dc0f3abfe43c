"""Which frames of a recording make the clip. Every rule keeps the last frame: the label belongs to it."""

from __future__ import annotations

from vidaff.errors import VidaffError

FRAME_RULES = ("fps", "authors")


def pick_frames(
    count: int, source_fps: float, *, fps: float | None, clip_length: int | None = None, rule: str = "fps"
) -> list[int]:
    """Ascending frame numbers to read out of ``count``; the last one is always ``count - 1``.

    ``rule="fps"`` thins ``source_fps`` to ``fps`` (``None`` keeps all), counting back from the last frame.
    ``rule="authors"`` is the 20-slot rule of the release. ``clip_length`` then keeps the last frames only.
    Short recordings give fewer frames: nothing is padded.
    """
    if rule not in FRAME_RULES:
        raise VidaffError(f"unknown frame rule {rule!r}; known: {', '.join(FRAME_RULES)}")
    if clip_length is not None and clip_length < 1:
        raise VidaffError(f"clip_length must be at least 1, got {clip_length}")
    frames = authors_frames(count) if rule == "authors" else frames_at(count, source_fps, fps)
    return frames if clip_length is None else frames[-clip_length:]


def frames_at(count: int, source_fps: float, fps: float | None) -> list[int]:
    """Frame numbers that thin ``source_fps`` to ``fps``, counted back from the last frame."""
    if fps is not None and not fps > 0:
        raise VidaffError(f"fps must be positive, got {fps:g}")
    step = 1.0 if fps is None else max(1.0, source_fps / fps)
    steps = int((count - 1) / step + 1e-6) + 1
    return [count - 1 - round(k * step) for k in reversed(range(steps))]


def authors_frames(count: int) -> list[int]:
    """Frame numbers by the release's rule: thin to at most 20 slots, then take every second one.

    Two deviations: counted back from the last frame, so that the labelled frame is among them (the release counts
    from the first and may lose it), and slots that stay empty are dropped instead of filled with black frames.

    Source: STCAE release, ``data/dataloader.py``; a step of 6 for 20 frames and fewer is what that code does.
    """
    step = next((step for low, high, step in AUTHORS_STEPS if low < count <= high), 6)
    slots = list(range(count - 1, -1, -step))[:20]
    return slots[::2][::-1]


AUTHORS_STEPS = ((20, 30, 1), (30, 40, 2), (40, 60, 3), (60, 80, 4), (80, 100, 5))
"""(above, up to, step); everything else takes every 6th frame."""
