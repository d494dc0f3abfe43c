"""A transfer from first check to last file: open, run, judge, draw, write."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets import STILLS, ClipDataset, check_options, load_dataset
from vidaff.datasets.base import Clip
from vidaff.datasets.taxonomy import BACKGROUND, CLASSES
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, write_image
from vidaff.transfer.choice import spread
from vidaff.transfer.grid import Shown, pages
from vidaff.transfer.mapping import ClassMapping, load_mapping
from vidaff.transfer.runner import Picture, StillRunner
from vidaff.transfer.scores import METRICS, READINGS, Judge, PictureOutcome, read_labels
from vidaff.transfer.tables import UNMAPPED, write_tables
from vidaff.transfer.views import VIEWS, plan_view
from vidaff.weights import Checkpoint, load_checkpoint

Estimate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TransferSettings:
    """What to run on what, how to judge it, and what to write.

    checkpoint: path, shipped name, or one that is loaded already. data: root folder or prepared file of ``dataset``.
    out: folder, must be new or empty unless ``overwrite``; None writes nothing. options: of the data set's class,
    such as ``{"protocol": "novel"}``.

    view, crop: :mod:`vidaff.transfer.views`; ``crop`` is the side of its squares in recorded pixels.
    mapping: YAML file, None = the one that ships. unmapped: ``wrong`` counts predictions on true pixels of classes
    without counterpart as wrong, ``ignore`` leaves those pixels out. confidence: threshold of the second reading and
    of the pictures. pictures: how many the grid shows. limit: so many pictures instead of all, evenly over categories.
    labels: also write label pictures.

    depth_model: transformers depth model whose estimates replace the set's depth. assumed_depth: metres, for models
    of relative depth, see :class:`vidaff.depth_estimation.DepthEstimator`.
    """

    checkpoint: str | Path | Checkpoint
    dataset: str
    data: str | Path
    out: str | Path | None = None
    split: str = "val"
    options: dict[str, str] = field(default_factory=dict)
    view: str = "centre"
    crop: int = 300
    mapping: str | Path | None = None
    unmapped: str = "wrong"
    confidence: float = 0.75
    pictures: int = 12
    labels: bool = False
    depth_model: str | None = None
    assumed_depth: float = 0.6
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.dataset not in STILLS:
            raise VidaffError(f"transfer goes to {' or '.join(STILLS)}, got {self.dataset!r}")
        for name, value, known in (("view", self.view, VIEWS), ("unmapped", self.unmapped, tuple(UNMAPPED))):
            if value not in known:
                raise VidaffError(f"{name} is one of {', '.join(known)}, got {value!r}")
        if not 0 <= self.confidence < 1:
            raise VidaffError(f"confidence must be at least 0 and below 1, got {self.confidence:g}")
        least = {"crop": 8, "batch_size": 1, "pictures": 0, "limit": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise VidaffError(f"{name} must be at least {low}, got {value}")


@dataclass(frozen=True)
class TransferResult:
    """All results of a transfer; undefined numbers are NaN here and ``None`` in :meth:`to_dict`.

    ``scores``: reading -> metric -> class -> value, and reading -> ``mean_<metric>`` -> value; ``intervals``: the same
    keys, each (low, high). ``sources``: class -> classes of SOR3D-AFF that mean it; ``counts``: class -> pictures whose
    truth has it; ``prevalence``: mapped class -> share of judged pixels. ``table`` (2, K + 1, 10): pixels by reading,
    true and predicted class. ``pictures``: one record per picture. ``notes``: what a reader of the numbers must know.
    """

    dataset: str
    split: str
    checkpoint: str
    view: str
    crop: int
    threshold: float
    unmapped: str
    classes: tuple[str, ...]
    sources: dict[str, list[str]]
    scores: dict[str, dict[str, Any]]
    intervals: dict[str, dict[str, Any]]
    counts: dict[str, int]
    prevalence: dict[str, float]
    table: np.ndarray
    pictures: list[dict[str, Any]]
    notes: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content."""
        about: dict[str, Any] = {
            **vars(self), "readings": READINGS, "predicted_classes": CLASSES, "num_pictures": len(self.pictures)
        }  # fmt: skip
        plain: dict[str, Any] = _plain(about)
        return plain


def transfer(settings: TransferSettings, *, progress: bool = True) -> TransferResult:
    """Run a model of SOR3D-AFF on the still pictures of another set, judge it, and write tables and pictures.

    Raises:
        VidaffError: unusable checkpoint, data, mapping or settings; a model that needs depth on a set without;
            ``out`` that holds files.

    Source: Thermos et al., ICASSP 2020, section 4.3: pictures only; the numbers are ours.
    """
    job = _Job(settings)
    if settings.out is None:
        return job.complete(None, progress=progress)
    folder = prepare_output_dir(settings.out, overwrite=settings.overwrite)
    with _unfinished(folder) as new:
        result = job.complete(new, progress=progress)
        _publish(new, folder)
    return result


_OUTPUTS = ("results.md", "results.json", "results.csv", "grid-*.png", "labels/*.png")


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder within ``folder`` for files until all are ready; it goes in the end, whatever happens."""
    new = folder / ".unfinished"
    shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
    try:
        new.mkdir()
    except OSError as error:
        raise VidaffError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _publish(new: Path, folder: Path) -> None:
    """Put the finished files into ``folder``, and remove what an earlier transfer left; files of other names stay."""
    ready = sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file())
    old = {path.relative_to(folder) for pattern in _OUTPUTS for path in folder.glob(pattern)}
    try:
        for name in ready:
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(new / name, folder / name)
        for name in old.difference(ready):
            (folder / name).unlink()
    except OSError as error:
        raise VidaffError(f"cannot replace the results in {folder}: {error.strerror or error}") from error


class _Job:
    """One transfer. Construction checks everything that can be checked before the first output."""

    def __init__(self, settings: TransferSettings) -> None:
        self.settings = settings
        self.mapping: ClassMapping = load_mapping(settings.dataset, settings.mapping)
        loaded = settings.checkpoint
        loaded = loaded if isinstance(loaded, Checkpoint) else load_checkpoint(loaded)
        self.runner = StillRunner(loaded, device=settings.device, batch_size=settings.batch_size)
        options = check_options(settings.dataset, settings.data, settings.options)
        self.clips = load_dataset(settings.dataset, settings.data, settings.split, **options)
        groups = [self.clips.info(index).object for index in range(len(self.clips))]
        self.chosen = spread(groups, len(groups) if settings.limit is None else settings.limit)
        self.in_grid = {self.chosen[i] for i in spread([groups[i] for i in self.chosen], settings.pictures)}
        self._estimate = self._depth_model()
        self._check_depth(self.clips.read(self.chosen[0]))
        self.judge = Judge(self.mapping, ignore_unmapped=settings.unmapped == "ignore")
        self.outcomes: list[PictureOutcome] = []
        self.records: list[dict[str, Any]] = []
        self.shown: list[Shown] = []
        self._without_depth = self._small = 0

    def complete(self, folder: Path | None, *, progress: bool) -> TransferResult:
        """Look at the pictures, judge them, and write all files into ``folder``, if any."""
        started = time.perf_counter()
        self.run(folder, progress=progress)
        result = self.result(time.perf_counter() - started)
        if folder is not None:
            heading = f"{result.checkpoint} on {result.dataset}, {self.settings.view} view"
            sheets = pages(self.shown, self.mapping, title=heading, threshold=self.settings.confidence)
            for number, sheet in enumerate(sheets, start=1):
                write_image(folder / f"grid-{number}.png", sheet)
            write_tables(result, folder)
        return result

    def run(self, folder: Path | None, *, progress: bool) -> None:
        """Look at all chosen pictures; label pictures go into ``folder``, if any."""
        from vidaff.progress import progress_bar

        with progress_bar(shown=progress) as bar:
            seen = zip(self.chosen, self.runner.run(self._pictures()), strict=True)
            for index, (picture, probs) in bar.track(seen, total=len(self.chosen), description=self.settings.dataset):
                self._judge(index, picture, probs, folder)

    def _pictures(self) -> Iterator[Picture]:
        for index in self.chosen:
            clip = self.clips.read(index)
            if clip.mask is None:
                raise VidaffError(f"{clip.name}: has no labels: it cannot be judged")
            rgb = clip.rgb[-1]
            plan = plan_view(
                self.settings.view, (rgb.shape[0], rgb.shape[1]), self.settings.crop, self.runner.input_size
            )
            self._small += min(rgb.shape[:2]) < self.settings.crop
            yield Picture(clip.name, clip.object, rgb, self._depth(clip), clip.mask, plan)

    def _judge(self, index: int, picture: Picture, probs: np.ndarray, folder: Path | None) -> None:
        region = picture.plan.region
        labels = read_labels(probs, self.settings.confidence)
        truth = region.nearest(picture.truth)
        outcome = self.judge.outcome(labels, truth)
        self.outcomes.append(outcome)
        means = self.judge.summarise([outcome])["mean_iou"][0]
        record = {f"mean_iou_{reading}": float(value) for reading, value in zip(READINGS, means, strict=True)}
        self.records.append({"name": picture.name, "object": picture.object, **record})
        if index in self.in_grid:
            highest = float(probs[:BACKGROUND].max())
            self.shown.append(Shown(picture.name, region.colours(picture.rgb), labels.confident, highest, truth))
        if folder is not None and self.settings.labels:
            write_image(folder / "labels" / f"{picture.name}.png", labels.argmax)

    # -- depth -------------------------------------------------------------------------------------------------------

    def _depth_model(self) -> Estimate | None:
        if self.settings.depth_model is None:
            return None
        if not self.runner.needs_depth:
            raise VidaffError("the checkpoint takes colours alone: leave --depth-model out")
        from vidaff.depth_estimation import DepthEstimator

        estimator = DepthEstimator(
            self.settings.depth_model, device=self.runner.device, assumed_depth_m=self.settings.assumed_depth
        )

        def estimate(rgb: np.ndarray) -> np.ndarray:
            estimator.reset()  # pictures are no clip: each has a scale of its own
            return np.rint(estimator(rgb) * 1000).astype(np.uint16)

        return estimate

    def _check_depth(self, clip: Clip) -> None:
        if self.runner.needs_depth and self._estimate is None and clip.depth is None:
            raise VidaffError(
                f"{clip.name}: {self.settings.dataset} brings no depth here, and the checkpoint needs it; "
                "take a checkpoint for RGB, or name a depth estimator with --depth-model"
            )

    def _depth(self, clip: Clip) -> np.ndarray | None:
        """Depth (H, W) uint16 mm of a picture; estimated from the whole picture, of which the view may be a part."""
        if not self.runner.needs_depth:
            return None
        if self._estimate is not None:
            return self._estimate(clip.rgb[-1])
        self._check_depth(clip)
        assert clip.depth is not None  # checked in the line above
        self._without_depth += not clip.depth.any()
        return clip.depth[-1]

    # -- results -----------------------------------------------------------------------------------------------------

    def result(self, seconds: float) -> TransferResult:
        settings, names = self.settings, self.mapping.taxonomy.affordances
        values, intervals = self.judge.summarise(self.outcomes), self.judge.intervals(self.outcomes)
        tables = np.stack([outcome.tables for outcome in self.outcomes])
        table = tables.sum(axis=0)
        present = tables[:, 0, :-1].any(axis=-1).sum(axis=0)
        name = settings.checkpoint
        return TransferResult(
            dataset=settings.dataset, split=settings.split, view=settings.view, crop=settings.crop,
            checkpoint="loaded model" if isinstance(name, Checkpoint) else str(name),
            threshold=settings.confidence, unmapped=settings.unmapped, classes=names,
            sources={name: self.mapping.sources(name) for name in names},
            scores={reading: _named(values, (0, row), names) for row, reading in enumerate(READINGS)},
            intervals={reading: _named(intervals, (slice(None), row), names) for row, reading in enumerate(READINGS)},
            counts=dict(zip(names, present.tolist(), strict=True)),
            prevalence=dict(zip(names, self.judge.prevalence(table).tolist(), strict=True)),
            table=table, pictures=self.records, notes=self._notes(), seconds=seconds,
        )  # fmt: skip

    def _notes(self) -> list[str]:
        settings, side = self.settings, f"{self.settings.crop}x{self.settings.crop}"
        size = f"{self.runner.input_size[1]}x{self.runner.input_size[0]}"
        views = {
            "centre": f"View: the centre {side} pixels, seen by the model at {size}; only they are judged.",
            "tiled": f"View: overlapping tiles of {side} pixels, each seen by the model at {size}, blended.",
            "whole": f"View: the whole picture, its sides at least {size} to the model.",
        }
        mapping = "the one that ships" if settings.mapping is None else settings.mapping
        notes = [views[settings.view], f"Mapping: {mapping}.", *_stored_notes(self.clips)]
        if settings.options:
            notes.append(f"Options: {', '.join(f'{key}={value}' for key, value in settings.options.items())}.")
        if len(self.chosen) < len(self.clips):
            notes.append(f"{len(self.chosen)} of {len(self.clips)} pictures, chosen evenly over categories (--limit).")
        if self._small and settings.view != "whole":
            cure = "their shorter side takes its place"
            notes.append(f"Pictures with a side below {settings.crop} pixels, where {cure}: {self._small}.")
        if settings.dataset == "umd":
            notes.append("Frames of one tool are alike, so the intervals are too narrow for tools never seen.")
        if self._estimate is not None:
            notes.append(f"Depth was estimated from the colours by {settings.depth_model}.")
        if self._without_depth:
            notes.append(f"Pictures without any depth, where it counts as missing: {self._without_depth}.")
        return notes


def _stored_notes(clips: ClipDataset) -> list[str]:
    """What was lost before the pictures came here: in a prepared file, or because files are missing."""
    notes = []
    size = getattr(clips, "size", None)
    if size is not None:
        crop = getattr(clips, "settings", {}).get("centre_crop")
        part = f"the centre {crop} pixels" if crop else "the whole picture"
        notes.append(f"Prepared file: {part} stored at {size[1]}x{size[0]}; pixels here are stored ones.")
    skipped = len(getattr(clips, "skipped", []))
    if skipped:
        notes.append(f"Listed pictures that are missing or without labels, left out: {skipped}.")
    return notes


def _named(values: dict[str, np.ndarray], place: tuple[Any, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """Metrics of one reading, by class where they are of classes; intervals as [low, high]."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        by_class = values[metric][place]  # (K,) or (2, K)
        found[metric] = dict(zip(names, by_class.T.tolist(), strict=True))
        found[f"mean_{metric}"] = values[f"mean_{metric}"][place].tolist()
    return found


def _plain(value: Any) -> Any:
    """Nested results as JSON types; NaN becomes None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
