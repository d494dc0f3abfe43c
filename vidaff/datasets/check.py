"""Look through a data set on disk and list what is wrong, instead of failing half-way through a training run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets import SPLITS
from vidaff.datasets.calibration import KINECT_V2_DEPTH_SIZE
from vidaff.datasets.folder import require_folder
from vidaff.datasets.geometry import same_aspect
from vidaff.datasets.masks import UNKNOWN, classify_colours, decode_labels
from vidaff.datasets.own_clips import own_folders, read_sheet
from vidaff.datasets.pool import run_pool
from vidaff.datasets.reader import load_flow, part_table
from vidaff.datasets.recording import (
    EXTRAS,
    PICTURES,
    Recording,
    frame_number,
    list_files,
    list_folders,
    parse_name,
    read_hotspot,
    scan_own,
    scan_sor3d,
    split_extras,
)
from vidaff.datasets.sor3d_aff import OFFICIAL_COUNTS
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, MASK_COLOURS
from vidaff.errors import VidaffError
from vidaff.io import read_depth_image, read_image, read_label_image

UNKNOWN_SHARE = 0.002
"""Share of mask pixels with colours that mean nothing above which it is a problem; a few come from re-saving."""
KINECT_COLOUR_SIZE = (1080, 1920)


@dataclass(frozen=True)
class Problem:
    """One finding: the recording (``split/name``), the file within it, and what is wrong. A ``note`` is no fault."""

    recording: str
    file: str
    message: str
    note: bool = False


@dataclass
class Report:
    """What :func:`check_dataset` found; ``recordings`` counts them per split, ``frames`` all colour frames."""

    dataset: str
    root: str
    recordings: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing but notes was found."""
        return all(problem.note for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def check_dataset(
    name: str, root: str | Path, *, workers: int = 2, quick: bool = False, tick: Callable[[int], None] | None = None
) -> Report:
    """Check every recording under ``root``; ``quick`` decodes only the first and the last frame of each.

    ``tick(total)`` is called after each recording. Raises :class:`VidaffError` only when ``root`` cannot be listed
    or the data set's name is unknown; everything else is a :class:`Problem`.
    """
    root = Path(root)
    if name not in _FOLDERS and name not in _OTHERS:
        raise VidaffError(f"unknown data set {name!r}; known: {', '.join((*_FOLDERS, *_OTHERS))}")
    require_folder(root)
    report = Report(name, str(root))
    work, tasks = _plan(name, root, report, quick)
    for frames, problems in run_pool(work, tasks, workers=workers):
        report.frames += frames
        report.problems += problems
        if tick is not None:
            tick(len(tasks))
    report.problems.sort(key=lambda problem: (problem.note, problem.recording, problem.file))
    return report


def _plan(name: str, root: Path, report: Report, quick: bool) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """What looks through a part of the tree, and the parts; each gives its number of frames and its problems."""
    if name in _OTHERS:
        module = importlib.import_module(_OTHERS[name])
        return module.check_part, module.parts(root, report, quick)
    return check_recording, [(name, root, folder, quick) for folder in _FOLDERS[name](root, report)]


def _sor3d_folders(root: Path, report: Report) -> list[Path]:
    """Recordings of both splits; missing splits and counts that differ from the published ones are problems."""
    folders = []
    # A synthetic set has any number of recordings, and says so.
    synthetic = (root / "synth.json").is_file()
    for split, official in OFFICIAL_COUNTS.items():
        found = list_folders(root / split) if (root / split).is_dir() else []
        report.recordings[split] = len(found)
        if not found:
            report.problems.append(Problem(split, "", f"no {split}/ folder with recordings"))
        elif len(found) != official and not synthetic:
            report.problems.append(Problem(split, "", f"{len(found)} recordings, {official} were published"))
        folders += found
    return folders


def _own_folders(root: Path, report: Report) -> list[Path]:
    splits = [split for split in SPLITS if (root / split).is_dir()]
    found = {split: own_folders(root, split) for split in splits} if splits else {"all": own_folders(root, "train")}
    report.recordings.update({split: len(folders) for split, folders in found.items()})
    return [folder for folders in found.values() for folder in folders]


_FOLDERS: dict[str, Callable[[Path, Report], list[Path]]] = {"sor3d-aff": _sor3d_folders, "own-clips": _own_folders}
_OTHERS = {
    "umd": "vidaff.datasets.check_umd",
    "iit-aff": "vidaff.datasets.check_iit_aff",
    "utkinect": "vidaff.datasets.check_utkinect",
    "agd20k": "vidaff.datasets.agd20k.check",
}
"""Data sets without the folders of recordings, and the modules that look through them."""


def check_recording(name: str, root: Path, folder: Path, quick: bool) -> tuple[int, list[Problem]]:
    """Number of frames and problems of one recording."""
    check = _RecordingCheck(root, folder, quick, scaled_depth=name == "own-clips")
    recording = check.attempt("", lambda: _scan(name, folder)) or check.partial(name)
    if name == "sor3d-aff":
        check.extras()
    if recording is not None:
        check.everything(recording)
    return (len(recording.frames) if recording else 0), check.problems


def _scan(name: str, folder: Path) -> Recording:
    if name == "sor3d-aff":
        return scan_sor3d(folder, parse_name(folder.name))
    sheet = read_sheet(folder)
    return scan_own(folder, sheet.info, sheet.camera, sheet.fps)


class _RecordingCheck:
    """Collects the problems of one recording; every check goes on after a finding."""

    def __init__(self, root: Path, folder: Path, quick: bool, *, scaled_depth: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.scaled_depth = scaled_depth
        self.name = str(folder.relative_to(root)) if folder != root else folder.name
        self.problems: list[Problem] = []

    def add(self, path: Path | str, message: str, *, note: bool = False) -> None:
        file = str(path.relative_to(self.folder)) if isinstance(path, Path) else path
        self.problems.append(Problem(self.name, file, message, note))

    def attempt(self, path: Path | str, action: Callable[[], Any]) -> Any:
        """Result of ``action``, or ``None`` after noting its :class:`VidaffError`."""
        try:
            return action()
        except VidaffError as error:
            # The message names the whole path; the table has a column for it.
            self.add(path, str(error).replace(f"{self.folder}/", "").removeprefix(f"{self.folder}: "))
            return None

    def partial(self, name: str) -> Recording | None:
        """The frames alone, so that a recording with a bad name or bad extras is still looked through."""
        try:
            frames, _ = split_extras(self.folder / "rgb")
            info = parse_name(self.folder.name) if name == "sor3d-aff" else read_sheet(self.folder).info
        except VidaffError:
            return None
        return Recording(info, self.folder, frames, None, None, None, None, None, None, None)

    def extras(self) -> None:
        """The four extra files: kinds and place in the order by which the authors' loader finds them."""
        files = list_files(self.folder / "rgb") if (self.folder / "rgb").is_dir() else []
        names = sorted(path.name for path in files)
        extras = [name for name in names if "_" in name]
        if len(extras) != EXTRAS:
            return  # reported by the scan
        if names[-EXTRAS:] != extras:
            self.add("rgb", f"the extra files do not sort after the frames ({extras[0]} before {names[-1]})")
        if Path(extras[0]).suffix.lower() not in PICTURES:
            self.add(f"rgb/{extras[0]}", "the first extra file must be the mask picture")
        if Path(extras[3]).suffix.lower() != ".json":
            self.add(f"rgb/{extras[3]}", "the fourth extra file must be the hotspot JSON")

    def everything(self, recording: Recording) -> None:
        self.numbers(recording)
        size = self.pictures(recording.frames, read_image)
        if recording.mask is not None:
            self.mask(recording, recording.mask, size)
        if recording.hotspot is not None:
            self.hotspot(recording.hotspot)
        if recording.depth is not None:
            self.depth(recording, recording.depth, size)
        if recording.parts is not None:
            self.parts(self.same_names(recording, recording.parts))
        if recording.flow is not None:
            whole = recording.flow.is_file()
            for path in self._chosen([recording.flow] if whole else self.same_names(recording, recording.flow)):
                self.attempt(path, lambda path=path: load_flow(path, 4 if whole else 3))  # type: ignore[misc]

    def numbers(self, recording: Recording) -> None:
        """Frame numbers that are missing between the first and the last."""
        numbers = [frame_number(path) for path in recording.frames]
        gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
        if gaps:
            shown = ", ".join(map(str, gaps[:5])) + (" ..." if len(gaps) > 5 else "")
            self.add("rgb", f"{len(gaps)} frame number{'s' if len(gaps) > 1 else ''} missing: {shown}")

    def pictures(self, paths: list[Path], read: Callable[[Path], np.ndarray]) -> tuple[int, int] | None:
        """(height, width) of the pictures; those that cannot be read or differ in size are problems."""
        size = None
        for path in self._chosen(paths):
            picture = self.attempt(path, lambda path=path: read(path))  # type: ignore[misc]
            if picture is None:
                continue
            if size is None:
                size = picture.shape[:2]
            if picture.shape[:2] != size:
                self.add(path, f"{_text(picture.shape)} pixels, the frames before it {_text(size)}")
        return size

    def _chosen(self, paths: list[Path]) -> Iterator[Path]:
        for index, path in enumerate(paths):
            if not self.quick or index in (0, len(paths) - 1):
                yield path
            elif not path.stat().st_size:
                self.add(path, "empty file")

    def mask(self, recording: Recording, path: Path, size: tuple[int, int] | None) -> None:
        """The mask's size and colours."""
        picture = self.attempt(path, lambda: read_label_image(path))
        if picture is None:
            return
        if size is not None and picture.shape[:2] not in (size, KINECT_V2_DEPTH_SIZE):
            self.add(path, f"mask of {_text(picture.shape)} pixels, frames of {_text(size)}")
        labels = classify_colours(picture) if picture.ndim == 3 else picture
        if picture.ndim == 2 and self.attempt(path, lambda: decode_labels(picture)) is None:
            return
        unknown = float((labels == UNKNOWN).mean())
        if unknown > UNKNOWN_SHARE:
            example = tuple(picture[labels == UNKNOWN][0].tolist())
            self.add(path, f"{unknown:.1%} of the mask has colours of no affordance, for example RGB {example}")
        action = recording.info.action
        if action >= 0 and not (labels == action).any():
            found = [AFFORDANCES[value] for value in np.unique(labels) if value < BACKGROUND]
            name = AFFORDANCES[action]
            colour = MASK_COLOURS[name]
            self.add(path, f"nothing is labelled {name} (RGB {colour}); found: {', '.join(found) or 'background only'}")

    def hotspot(self, path: Path) -> None:
        """The hotspot file reads and its circles lie in the picture, counted in the official picture's pixels."""
        height, width = KINECT_COLOUR_SIZE
        for x, y, _ in self.attempt(path, lambda: read_hotspot(path)) or []:
            if not (0 <= x < width and 0 <= y < height):
                self.add(path, f"hotspot ({x:g}, {y:g}) lies outside the picture of {width}x{height} pixels")

    def depth(self, recording: Recording, folder: Path, size: tuple[int, int] | None) -> None:
        """Depth files pair with the frames, read, and lie on a grid that can be used."""
        paths = self.same_names(recording, folder)
        found = self.pictures(paths, read_depth_image)
        camera = recording.camera
        if found is None or size is None:
            return
        if camera is not None and camera.size != found:
            self.add("intrinsics.yaml", f"is for {_text(camera.size)} pixels, depth has {_text(found)}")
        if found == size or (self.scaled_depth and same_aspect(found, size)):
            return
        kinect = (size, found) == (KINECT_COLOUR_SIZE, KINECT_V2_DEPTH_SIZE)
        cure = "prepare with --geometry aligned --calibration FILE"
        self.add("depth", f"depth of {_text(found)} beside colour of {_text(size)} pixels; {cure}", note=kinect)

    def parts(self, paths: list[Path]) -> None:
        """Part masks read, and ``parts.json`` says what each of their values affords."""
        table = self.attempt("parts.json", lambda: part_table(self.folder / "parts.json"))
        for path in self._chosen(paths):
            picture = self.attempt(path, lambda path=path: read_label_image(path))  # type: ignore[misc]
            if table is not None and picture is not None and (picture.ndim != 2 or picture.max() >= table.size):
                self.add(path, f"grey values 0..{table.size - 1} are expected (part index + 1, 0 = no part)")

    def same_names(self, recording: Recording, folder: Path) -> list[Path]:
        """Files of ``folder``, whose stems must be those of the colour frames."""
        paths = list_files(folder)
        frames, stems = {path.stem for path in recording.frames}, {path.stem for path in paths}
        for what, names in (("missing for frames", frames - stems), ("without a frame:", stems - frames)):
            if names:
                shown = ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")
                self.add(folder, f"{len(names)} of {len(frames)} files {what} {shown}")
        return paths


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
