"""The embedded default: synthetic clips, rendered and prepared when no data is given."""

from __future__ import annotations

from pathlib import Path

from vidaff.datasets.prepare import PrepareSettings, prepare_clips
from vidaff.datasets.synthetic import SynthSettings, render_sor3d_aff

TRAIN_CLIPS, VAL_CLIPS = 3000, 270
"""Enough to train the ``small`` recipe to something useful; the shipped checkpoint saw more, see its card."""


def default_data(
    folder: str | Path,
    *,
    size: tuple[int, int],
    clips_train: int = TRAIN_CLIPS,
    clips_val: int = VAL_CLIPS,
    seed: int = 0,
    flow: str = "pd-dis",
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Render clips into ``folder/clips`` and prepare them as ``folder/clips-HxW-FLOW.h5``; return that file.

    Both steps go on where an earlier call was stopped, and do nothing when they are complete.

    Args:
        folder: where the data lives, created when missing.
        size: height and width of the prepared frames in pixels.
        clips_train: training clips to render.
        clips_val: validation clips, of object instances that training never sees.
        seed: of the renderer.
        flow: flow method of the prepared file.
        workers: processes.
        progress: show progress bars.
    """
    folder = Path(folder)
    settings = SynthSettings(clips_train=clips_train, clips_val=clips_val, size=max(128, *size), seed=seed)
    clips = render_sor3d_aff(folder / "clips", settings, workers=workers, resume=True, progress=progress)
    out = folder / f"clips-{size[0]}x{size[1]}-{flow}.h5"
    prepared = PrepareSettings(size=size, flow=flow)
    return prepare_clips("sor3d-aff", clips, out, prepared, workers=workers, resume=True, progress=progress)
