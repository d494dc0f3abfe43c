"""A whole rendered set: settings, workers, resuming, and the picture that shows what was made."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidaff.datasets.synthetic.scene import SPLITS, ClipPlan, plan_clips
from vidaff.datasets.synthetic.set_folder import SHEET_FILE, begin_set
from vidaff.errors import VidaffError

RENDERER = 1
"""Raised whenever the same settings would give other pixels."""
_COUNTS = ("clips_train", "clips_val")
_LIMITS = {"clips_train": (0, 1_000_000), "clips_val": (0, 1_000_000), "size": (32, 1024), "frames": (2, 300)}


@dataclass(frozen=True)
class SynthSettings:
    """What is rendered.

    Args:
        clips_train: training clips; three in a row share one object instance.
        clips_val: validation clips, each of an instance and a subject that training never shows.
        size: side of the square pictures in pixels.
        frames: frames a clip, at 10 a second.
        seed: another seed gives other instances, scenes and motions.
        extras: also store the exact scene flow of every frame.
    """

    clips_train: int = 3000
    clips_val: int = 270
    size: int = 128
    frames: int = 10
    seed: int = 0
    extras: bool = True

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise VidaffError(f"{name.replace('_', '-')} must be {low}..{high}, got {value}")
        if self.clips_train + self.clips_val == 0:
            raise VidaffError("nothing to render: clips-train and clips-val are both 0")
        if not 0 <= self.seed < 2**32:
            raise VidaffError(f"seed must be 0..{2**32 - 1}, got {self.seed}")

    def as_dict(self) -> dict[str, Any]:
        """What the settings file of a set says."""
        head = {"format": "vidaff-synth", "dataset": "sor3d-aff", "renderer": RENDERER}
        return {**head, **asdict(self)}

    def plans(self) -> list[ClipPlan]:
        """All clips of the set, training first."""
        counts = {"train": self.clips_train, "val": self.clips_val}
        return [plan for split in SPLITS for plan in plan_clips(self.seed, split, counts[split])]


def render_sor3d_aff(
    out: str | Path,
    settings: SynthSettings | None = None,
    *,
    workers: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render a set of RGB-D interaction clips in the layout of SOR3D-AFF into the folder ``out``; return it.

    The layout is that of :class:`vidaff.datasets.sor3d_aff.Sor3dAff`, with ``synth.json`` (settings) and
    ``contact_sheet.png`` beside the splits. A clip depends on the seed, its split and its number only, so neither
    ``workers`` nor the size of the set changes it. ``resume`` keeps the clips that are complete, also in order to add
    clips to a set; ``overwrite`` starts anew.

    Raises:
        VidaffError: ``out`` holds files and neither option is given, was rendered with other settings, or cannot be
            written.

    Source: Thermos et al., ICASSP 2020, section 4.1 (actions, objects, three views of a table).
    """
    settings = settings or SynthSettings()
    out = _begin(Path(out), settings, resume=resume, overwrite=overwrite)
    plans = settings.plans()
    missing = [plan for plan in plans if not (out / plan.split / plan.name).is_dir()]
    if missing:
        _render_missing(out, settings, missing, len(plans), workers=workers, progress=progress)
    if missing or not (out / SHEET_FILE).is_file():
        from vidaff.datasets.synthetic.contact_sheet import write_contact_sheet

        write_contact_sheet(out, plans)
    return out


def _begin(out: Path, settings: SynthSettings, *, resume: bool, overwrite: bool) -> Path:
    """Make or check the set's folder, and remove what a killed run left half-written."""
    begin_set(out, settings.as_dict(), counts=_COUNTS, owned=SPLITS, resume=resume, overwrite=overwrite)
    for split in SPLITS:
        (out / split).mkdir(exist_ok=True)
        for stale in (out / split).glob(".*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
    return out


def _render_missing(
    out: Path, settings: SynthSettings, plans: list[ClipPlan], total: int, *, workers: int, progress: bool
) -> None:
    from vidaff.datasets.pool import run_pool
    from vidaff.datasets.synthetic.clip import render_clip
    from vidaff.progress import progress_bar

    tasks = [(plan, out, settings.size, settings.frames, settings.extras) for plan in plans]
    with progress_bar(shown=progress) as bar:
        task = bar.add_task("compiling (first run only)", total=total, completed=total - len(plans))
        # Leaves the kernels in numba's cache for the workers.
        render_clip(plans[0], 32, 2)
        bar.update(task, description="rendering")
        for _ in run_pool(_render_one, tasks, workers=workers):
            bar.advance(task)


def _render_one(plan: ClipPlan, out: Path, size: int, frames: int, extras: bool) -> None:
    from vidaff.datasets.synthetic.clip import render_clip
    from vidaff.datasets.synthetic.writer import write_clip

    write_clip(out / plan.split, render_clip(plan, size, frames), extras=extras)
