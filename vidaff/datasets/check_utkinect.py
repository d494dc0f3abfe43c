"""``vidaff data check utkinect``: the actions against the published number, and every sequence's files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from vidaff.datasets.check import Problem, Report
from vidaff.datasets.check_parts import Findings, chosen, compare_counts, shorten, text
from vidaff.datasets.opencv_xml import read_opencv_xml
from vidaff.datasets.utkinect import (
    COLOUR_NAME,
    CORRECTIONS,
    DEPTH_NAME,
    OFFICIAL_SEQUENCES,
    Interval,
    find_joints,
    find_labels,
    in_split,
    list_numbered,
    read_actions,
    read_joints,
)
from vidaff.errors import VidaffError
from vidaff.io import read_image

CLIPS = {"train": 100, "val": 99}
"""Usable clips of the half split: 10 of each sequence but one."""
_SIZES = {"RGB": (480, 640), "depth": (240, 320)}


def parts(root: Path, report: Report, quick: bool) -> list[tuple[Path, str, list[Interval], bool]]:
    """Sequences with their actions; what is wrong with the label file goes into ``report``."""
    try:
        labels = find_labels(root)
        intervals, fixes = read_actions(labels)
    except VidaffError as error:
        report.problems.append(Problem("", "", str(error)))
        return []
    for sequence, action, message in fixes:
        known = (sequence, action) in CORRECTIONS or (sequence, action) == ("s10_e02", "carry")
        report.problems.append(Problem(sequence, labels.name, f"{action}: {message}", note=known))
    found = {split: sum(in_split(entry.sequence, "half", split) for entry in intervals) for split in CLIPS}
    report.recordings.update(found)
    compare_counts(report, "usable clips", found, CLIPS)
    _check_order(report, labels.name, intervals)
    by_sequence = {name: [entry for entry in intervals if entry.sequence == name] for name in OFFICIAL_SEQUENCES}
    return [(root, name, entries, quick) for name, entries in by_sequence.items()]


def _check_order(report: Report, file: str, intervals: list[Interval]) -> None:
    """Actions of one sequence do not share frames: a note, since a few of the published ones do."""
    ordered = sorted(intervals, key=lambda entry: (entry.sequence, entry.start))
    for one, other in pairwise(ordered):
        if one.sequence == other.sequence and other.start < one.end:
            message = f"{one.action} and {other.action} overlap in frames {other.start} to {min(one.end, other.end)}"
            report.problems.append(Problem(one.sequence, file, message, note=True))


def check_part(root: Path, sequence: str, intervals: list[Interval], quick: bool) -> tuple[int, list[Problem]]:
    """Number of colour frames and problems of one sequence."""
    findings = Findings(sequence)
    colours = list_numbered(root / "RGB" / sequence, COLOUR_NAME)
    depths = list_numbered(root / "depth" / sequence, DEPTH_NAME)
    if not colours:
        findings.add("RGB", "no colour frames (RGB/s01_e01/colorImg252.jpg ...)")
    elif missing := sorted(set(colours) - set(depths)):
        findings.add("depth", f"{len(missing)} of {len(colours)} frames have no depth file: {shorten(missing)}")
    for entry in intervals:
        if colours and not any(entry.start <= number <= entry.end for number in colours):
            findings.add("RGB", f"no frame of {entry.action}, {entry.start} to {entry.end}")
    for path in chosen(list(colours.values()), quick):
        picture = findings.attempt(path, lambda path=path: read_image(path))  # type: ignore[misc]
        _check_size(findings, path, "RGB", None if picture is None else picture.shape)
    for path in chosen(list(depths.values()), quick):
        depth = findings.attempt(path, lambda path=path: read_opencv_xml(path))  # type: ignore[misc]
        _check_size(findings, path, "depth", None if depth is None else depth.shape)
    _check_joints(findings, find_joints(root, sequence))
    return len(colours), findings.problems


def _check_size(findings: Findings, path: Path, kind: str, shape: tuple[int, ...] | None) -> None:
    if shape is not None and shape[:2] != _SIZES[kind]:
        findings.add(path, f"{text(shape)} pixels, {text(_SIZES[kind])} are published")


def _check_joints(findings: Findings, path: Path) -> None:
    if not path.is_file():
        findings.add(path, "no joints", note=True)
        return
    joints = findings.attempt(path, lambda: read_joints(path))
    if joints is not None and joints.repeated:
        findings.add(path, f"{joints.repeated} frame numbers repeat; the last of each counts", note=True)
