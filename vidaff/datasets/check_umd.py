"""``vidaff data check umd``: tools and frames against the published counts, and every file for what it should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vidaff.datasets.check import Problem, Report
from vidaff.datasets.check_parts import Findings, chosen, compare_counts, shorten, text
from vidaff.datasets.recording import list_folders
from vidaff.datasets.taxonomies import UMD
from vidaff.datasets.umd import (
    CATEGORY_LABELS,
    GRID,
    PROTOCOLS,
    SIDES,
    Frame,
    category,
    find_root,
    frame_path,
    has_bytes,
    list_frames,
    read_labels,
    read_ranks,
    read_split,
)
from vidaff.errors import VidaffError
from vidaff.io import read_depth_image, read_image

TOOLS = {"train": 54, "val": 51}
FRAMES = {"train": 14_823, "val": 14_020}
"""Tools and frames of ``category_split.txt``: 105 and 28,843 in all."""
_KINDS = ("rgb.jpg", "depth.png", "label.mat", "label_rank.mat")


def parts(root: Path, report: Report, quick: bool) -> list[tuple[Path, str, bool]]:
    """The tools to look through; what is wrong with the tree as a whole goes into ``report``."""
    try:
        root = find_root(root)
        tools = [folder.name for folder in list_folders(root / "tools")]
    except VidaffError as error:
        report.problems.append(Problem("", "", str(error)))
        return []
    sides = _splits(root, report)
    for name, split in sides.items():
        _compare_tools(report, name, set(split), set(tools))
    listed = sides.get(PROTOCOLS["category"])
    if listed is None:
        report.recordings["all"] = len(tools)
    else:
        _count(report, root, {split: [t for t in tools if listed.get(t) == side] for split, side in SIDES.items()})
    return [(root, tool, quick) for tool in tools]


def _splits(root: Path, report: Report) -> dict[str, dict[str, int]]:
    """The split files that can be read; the others are problems, and the tools are looked through all the same."""
    found = {}
    for name in PROTOCOLS.values():
        try:
            found[name] = read_split(root / name)
        except VidaffError as error:
            report.problems.append(Problem("", name, str(error).removeprefix(f"{root / name}: ")))
    return found


def _count(report: Report, root: Path, by_split: dict[str, list[str]]) -> None:
    """Tools and frames of each split against the published numbers."""
    report.recordings.update({split: len(found) for split, found in by_split.items()})
    if not (root / "synth.json").is_file():
        compare_counts(report, "tools", report.recordings, TOOLS)
        frames = {split: sum(_pictures(root, tool) for tool in found) for split, found in by_split.items()}
        compare_counts(report, "frames", frames, FRAMES)


def _pictures(root: Path, tool: str) -> int:
    try:
        return sum("rgb.jpg" in frame.kinds for frame in list_frames(root, tool))
    except VidaffError:
        return 0  # check_part says why


def _compare_tools(report: Report, file: str, listed: set[str], found: set[str]) -> None:
    for names, message in ((listed - found, "listed but not in tools/"), (found - listed, "in tools/ but not listed")):
        if names:
            report.problems.append(Problem("", file, f"{len(names)} {message}: {shorten(sorted(names))}"))


def check_part(root: Path, tool: str, quick: bool) -> tuple[int, list[Problem]]:
    """Number of frames and problems of one tool."""
    findings = Findings(f"tools/{tool}")
    frames = findings.attempt(root / "tools" / tool, lambda: list_frames(root, tool))
    if frames is None:
        return 0, findings.problems
    _files(findings, root, frames)
    _numbers(findings, frames)
    for frame in chosen(frames, quick):
        _check_frame(findings, root, frame)
    return sum("rgb.jpg" in frame.kinds for frame in frames), findings.problems


def _files(findings: Findings, root: Path, frames: list[Frame]) -> None:
    """Every frame has its four files; none is empty, as an interrupted download leaves them, or a link to nothing."""
    if not frames:
        findings.add("", "holds no frames (bowl_01_00000001_rgb.jpg ...)")
    for kind in _KINDS:
        without = [frame.number for frame in frames if kind not in frame.kinds]
        if without:
            findings.add("", f"{kind} is missing for {len(without)} of {len(frames)} frames: {shorten(without)}")
        paths = [frame_path(root, frame, kind) for frame in frames if kind in frame.kinds]
        for path in paths:
            if not has_bytes(path):
                findings.add(path, "empty file" if path.exists() else "a link to a file that is not there")


def _numbers(findings: Findings, frames: list[Frame]) -> None:
    numbers = [int(frame.number) for frame in frames]
    gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)) if numbers else []
    if gaps:
        findings.add("", f"{len(gaps)} frame numbers missing: {shorten(gaps)}")


_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "rgb.jpg": read_image, "depth.png": read_depth_image, "label.mat": read_labels, "label_rank.mat": read_ranks,
}  # fmt: skip


def _check_frame(findings: Findings, root: Path, frame: Frame) -> None:
    """Pictures and labels read, have one size, and say of the tool what its kind affords."""
    arrays: dict[str, np.ndarray] = {}
    for kind, read in _READERS.items():
        path = frame_path(root, frame, kind)
        if kind in frame.kinds and has_bytes(path):
            array = findings.attempt(path, lambda: read(path))  # noqa: B023  (called at once)
            arrays.update({} if array is None else {kind: array})
    if "rgb.jpg" in arrays:
        _check_sizes(findings, root, frame, arrays)
    if "label.mat" in arrays:
        _check_labels(findings, root, frame, arrays["label.mat"], arrays.get("label_rank.mat"))


def _check_sizes(findings: Findings, root: Path, frame: Frame, arrays: dict[str, np.ndarray]) -> None:
    size = arrays["rgb.jpg"].shape[:2]
    if size != GRID and not any(problem.note for problem in findings.problems):
        findings.add(
            frame_path(root, frame, "rgb.jpg"), f"{text(size)} pixels, published frames have {text(GRID)}", note=True
        )
    for kind, array in arrays.items():
        if array.shape[:2] != size:
            findings.add(frame_path(root, frame, kind), f"{text(array.shape)} pixels, the colour picture {text(size)}")


def _check_labels(findings: Findings, root: Path, frame: Frame, labels: np.ndarray, ranks: np.ndarray | None) -> None:
    path = frame_path(root, frame, "label.mat")
    found = set(np.unique(labels).tolist()) - {0}
    kind = category(frame.tool)
    strange = sorted(found - CATEGORY_LABELS.get(kind, found))
    if strange:
        names = ", ".join(f"{number} ({UMD.affordances[number - 1]})" for number in strange)
        findings.add(path, f"labelled {names}, which no {kind} of the original set is: relabelled, or UMD+GT?")
    if not found:
        findings.add(path, "nothing is labelled")
    if ranks is None or ranks.shape[:2] != labels.shape:
        return
    first = labels[..., None] == np.arange(1, UMD.background + 1)  # (H, W, 7)
    # Ties are allowed, so a first rank need not be the label; the label must be a first rank.
    if not (ranks[first] == 1).all() or (ranks[labels == 0] != 0).any():
        findings.add(path, "disagrees with the ranks of its label_rank.mat")
