"""Sets of rendered still pictures: settings, workers, resuming, and the picture that shows what was made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from vidaff.datasets.synthetic.scene import SPLITS
from vidaff.datasets.synthetic.set_folder import SHEET_FILE, begin_set
from vidaff.datasets.taxonomies import Taxonomy
from vidaff.errors import VidaffError

RENDERER = 1
"""Raised whenever the same settings would give other pixels."""
MAX_PICTURES = 1_000_000
SIZES = (96, 1080)
COUNTS = ("pictures_train", "pictures_val")
_CELL_WIDTH = 220
_SHEET_COLUMNS = 3
S = TypeVar("S", bound="StillSettings")


class Sample(NamedTuple):
    """A picture of the contact sheet: rgb (H, W, 3), labels (H, W) with the ids of the disk, words."""

    rgb: np.ndarray
    labels: np.ndarray
    words: str


@dataclass(frozen=True, kw_only=True)
class StillSettings(ABC):
    """What is rendered.

    Args:
        pictures_train: training pictures.
        pictures_val: pictures of the official test set, of instances that training never shows.
        size: height of the pictures in pixels; they are 4/3 as wide.
        seed: another seed gives other instances and scenes.
    """

    dataset: ClassVar[str]
    taxonomy: ClassVar[Taxonomy]
    owned: ClassVar[tuple[str, ...]]
    """Files and folders that a set consists of, besides its settings and its contact sheet."""

    pictures_train: int = 1200
    pictures_val: int = 300
    size: int = 480
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in self.limits().items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise VidaffError(f"{name.replace('_', '-')} must be {low}..{high}, got {value}")
        if self.pictures_train + self.pictures_val == 0:
            raise VidaffError("nothing to render: pictures-train and pictures-val are both 0")

    def limits(self) -> dict[str, tuple[int, int]]:
        """Least and greatest value of each setting."""
        return {**dict.fromkeys(COUNTS, (0, MAX_PICTURES)), "size": SIZES, "seed": (0, 2**32 - 1)}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.size, round(self.size * 4 / 3)

    def as_dict(self) -> dict[str, Any]:
        """What the settings file of a set says."""
        return {"format": "vidaff-synth", "dataset": self.dataset, "renderer": RENDERER, **asdict(self)}

    def indices(self) -> list[tuple[str, int]]:
        """Split and number of every picture, training first."""
        counts = dict(zip(SPLITS, (self.pictures_train, self.pictures_val), strict=True))
        return [(split, index) for split in SPLITS for index in range(counts[split])]

    @abstractmethod
    def complete(self, out: Path, split: str, index: int) -> bool:
        """Whether all files of a picture are there."""

    @abstractmethod
    def write(self, out: Path, split: str, index: int) -> None:
        """Render a picture and write its files. Depends on the seed, the split and the number only."""

    @abstractmethod
    def finish(self, out: Path) -> None:
        """Write the lists of the whole set."""

    @abstractmethod
    def samples(self, out: Path) -> list[Sample]:
        """Pictures for the contact sheet, read from the disk."""


def render_stills(
    out: str | Path,
    settings: S,
    *,
    workers: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> S:
    """Render a set of still pictures into the folder ``out``; return the settings that it then has.

    ``synth.json`` (settings) and ``contact_sheet.png`` lie beside the files of the layout. Neither ``workers`` nor
    the size of the set changes a picture. ``resume`` keeps the pictures that are complete, also in order to add
    some to a set; ``overwrite`` starts anew.

    Raises:
        VidaffError: ``out`` holds files and neither option is given, was rendered with other settings, or cannot be
            written.
    """
    out = Path(out)
    wanted = settings.as_dict()
    found = begin_set(out, wanted, counts=COUNTS, owned=settings.owned, resume=resume, overwrite=overwrite)
    settings = replace(settings, **{key: found[key] for key in COUNTS})
    _clear_leftovers(out, settings.owned)
    indices = settings.indices()
    missing = [(out, *each) for each in indices if not settings.complete(out, *each)]
    if missing:
        _render_missing(settings, missing, len(indices), workers=workers, progress=progress)
    settings.finish(out)
    if missing or not (out / SHEET_FILE).is_file():
        write_contact_sheet(out, settings)
    return settings


def _clear_leftovers(out: Path, owned: Sequence[str]) -> None:
    """Remove the temporary files that a killed run left in the set's own folders."""
    for folder in (out / name for name in owned if (out / name).is_dir()):
        for stale in folder.rglob(".*.tmp.*"):
            stale.unlink(missing_ok=True)


def _render_missing(
    settings: StillSettings, tasks: Sequence[tuple[Path, str, int]], total: int, *, workers: int, progress: bool
) -> None:
    from vidaff.datasets.pool import run_pool
    from vidaff.progress import progress_bar

    with progress_bar(shown=progress) as bar:
        task = bar.add_task("compiling (first run only)", total=total, completed=total - len(tasks))
        # In this process first: leaves the kernels in numba's cache for the workers.
        settings.write(*tasks[0])
        bar.update(task, description="rendering", advance=1)
        for _ in run_pool(settings.write, tasks[1:], workers=workers):
            bar.advance(task)


def write_contact_sheet(out: Path, settings: StillSettings) -> None:
    """Write ``out/contact_sheet.png``: pictures, and beside each the same one with its labels."""
    from vidaff.io import write_image
    from vidaff.visualize import blend_labels, contact_sheet

    taxonomy, samples = settings.taxonomy, settings.samples(out)
    cells, captions = [], []
    for sample in samples:
        labels = taxonomy.from_disk()[sample.labels]
        cells.append(np.hstack([sample.rgb, blend_labels(sample.rgb, labels, taxonomy=taxonomy)]))
        shown = [taxonomy.affordances[number] for number in np.unique(labels) if number < taxonomy.background]
        captions.append(f"{sample.words}: {', '.join(shown)}")
    height, width = settings.shape
    cell = (round(_CELL_WIDTH * height / width), 2 * _CELL_WIDTH)
    sheet = contact_sheet(
        cells, captions=captions, columns=_SHEET_COLUMNS, cell=cell, title=out.name, with_legend=True, taxonomy=taxonomy
    )
    write_image(out / SHEET_FILE, sheet)
