"""A whole synthetic AGD20K: settings, workers, resuming."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vidaff.datasets.synthetic.agd20k_plan import ROLES, SPLITS, PicturePlan, pairs, plan_split
from vidaff.datasets.synthetic.set_folder import SETTINGS_FILE, SHEET_FILE, begin_set
from vidaff.errors import VidaffError
from vidaff.io import read_json

RENDERER = 1
"""Raised whenever the same settings would give other pixels or labels."""
_COUNTS = ("images_train", "images_test", "exo_per_ego")
_LIMITS = {
    "images_train": (1, 1_000_000),
    "images_test": (1, 1_000_000),
    "exo_per_ego": (1, 100),
    "size": (64, 1024),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class Agd20kSettings:
    """What is rendered.

    Args:
        images_train: egocentric training pictures of each split, spread evenly over its (affordance, object) pairs.
        exo_per_ego: exocentric training pictures for each of them.
        images_test: test pictures of each split, of instances that training never shows.
        size: side of the square pictures in pixels.
        seed: another seed gives other instances, scenes and faults.
    """

    images_train: int = 1200
    exo_per_ego: int = 1
    images_test: int = 300
    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise VidaffError(f"{name.replace('_', '-')} must be {low}..{high}, got {value}")

    def as_dict(self) -> dict[str, Any]:
        """What the settings file of a set says."""
        return {"format": "vidaff-synth", "dataset": "agd20k", "renderer": RENDERER, **asdict(self)}

    def plans(self, split: str) -> list[PicturePlan]:
        """All pictures of ``Seen`` or ``Unseen``, training first."""
        sizes = {
            "train": (self.images_train, 1),
            "exo": (self.images_train, self.exo_per_ego),
            "test": (self.images_test, 1),
        }
        return [plan for role in ROLES for plan in plan_split(self.seed, split, role, *sizes[role])]


def render_agd20k(
    out: str | Path,
    settings: Agd20kSettings | None = None,
    *,
    workers: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render pictures of things and of their use in the layout of AGD20K into the folder ``out``; return it.

    The layout is that of :mod:`vidaff.datasets.agd20k`, with our label folder beside the pictures (imperfect labels
    in ``trainset/labels``, true ones in ``trainset/truth``), ``synth.json`` (settings) and ``contact_sheet.png``. A
    picture depends on the seed, its pair, role and number only; the two splits share pictures. ``resume`` keeps the
    pictures that are there, also in order to add to a set; ``overwrite`` starts anew.

    Raises:
        VidaffError: ``out`` holds files and neither option is given, was rendered with other settings, or cannot be
            written.

    Source: Luo et al., CVPR 2022 (layout, splits); Xu et al., ICLR 2025 (pseudo-labels).
    """
    wanted = settings or Agd20kSettings()
    out = Path(out)
    begin_set(out, wanted.as_dict(), counts=_COUNTS, owned=SPLITS, resume=resume, overwrite=overwrite)
    # A resumed set may hold more than is asked for; its tables must name all of it.
    stored = read_json(out / SETTINGS_FILE)
    settings = Agd20kSettings(**{field.name: stored[field.name] for field in fields(Agd20kSettings)})
    _sweep(out)
    plans = {split: settings.plans(split) for split in SPLITS}
    missing = _missing(out, plans)
    if missing:
        _render(out, missing, sum(map(len, plans.values())), settings.size, workers=workers, progress=progress)
    if missing or not (out / SHEET_FILE).is_file():
        _finish(out, plans)
    return out


def _sweep(out: Path) -> None:
    """Remove what a killed run left half-written."""
    for split in SPLITS:
        for stale in sorted((out / split).rglob(".*.tmp*")):
            stale.unlink(missing_ok=True)


def _missing(out: Path, plans: dict[str, list[PicturePlan]]) -> dict[PicturePlan, list[str]]:
    """Splits that lack a picture, by picture."""
    from vidaff.datasets.synthetic.agd20k_files import picture_path

    found: dict[PicturePlan, list[str]] = {}
    for split, wanted in plans.items():
        for plan in wanted:
            if not picture_path(out, split, plan).is_file():
                found.setdefault(plan, []).append(split)
    return found


def _render(
    out: Path, missing: dict[PicturePlan, list[str]], total: int, size: int, *, workers: int, progress: bool
) -> None:
    from vidaff.datasets.pool import run_pool
    from vidaff.datasets.synthetic.agd20k_use import render_exo
    from vidaff.progress import progress_bar

    # The tables and the sheet are of the set as it was, so they go first.
    (out / SHEET_FILE).unlink(missing_ok=True)
    tasks = [(plan, out, tuple(splits), size) for plan, splits in missing.items()]
    todo = sum(map(len, missing.values()))
    with progress_bar(shown=progress) as bar:
        task = bar.add_task("compiling (first run only)", total=total, completed=total - todo)
        # Leaves the kernels in numba's cache for the workers.
        render_exo(PicturePlan(0, "exo", *pairs("Seen", "train")[0], 0), 64)
        bar.update(task, description="rendering")
        for count in run_pool(_render_one, tasks, workers=workers):
            bar.advance(task, count)


def _render_one(plan: PicturePlan, out: Path, splits: tuple[str, ...], size: int) -> int:
    from vidaff.datasets.synthetic.agd20k_files import render_files

    render_files(plan, out, splits, size)
    return len(splits)


def _finish(out: Path, plans: dict[str, list[PicturePlan]]) -> None:
    from vidaff.datasets.synthetic.agd20k_sheet import write_contact_sheet
    from vidaff.datasets.synthetic.agd20k_tables import write_tables

    for split, wanted in plans.items():
        write_tables(out, split, [plan for plan in wanted if plan.role != "test"])
    write_contact_sheet(out, plans["Seen"])
