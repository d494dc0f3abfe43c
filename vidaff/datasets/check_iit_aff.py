"""``vidaff data check iit-aff``: the lists against the published counts, and every picture, label and box."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidaff.datasets.check import Problem, Report
from vidaff.datasets.check_parts import Findings, chosen, compare_counts, shorten, text
from vidaff.datasets.iit_aff import LISTS, OFFICIAL_COUNTS, Tree, find_tree, fit_labels
from vidaff.datasets.taxonomies import IGNORE, IIT_AFF
from vidaff.errors import VidaffError
from vidaff.io import read_image

_CHUNK = 32
"""Pictures looked through by a worker at a time."""


def parts(root: Path, report: Report, quick: bool) -> list[tuple[Path, list[str], bool]]:
    """Groups of listed pictures; what is wrong with the lists goes into ``report``."""
    lists: dict[str, list[str]] = {}
    try:
        tree = find_tree(root)
    except VidaffError as error:
        report.problems.append(Problem("", "", str(error)))
        return []
    for which in LISTS:
        try:
            lists[which] = tree.names(which)
        except VidaffError as error:
            # The Pascal-VOC form comes without a list of validation pictures.
            report.problems.append(Problem(which, "", str(error), note=which == "val"))
    report.recordings.update(train=len(lists.get("train_and_val", [])), val=len(lists.get("test", [])))
    if not (tree.root / "synth.json").is_file():
        compare_counts(report, "pictures", report.recordings, OFFICIAL_COUNTS)
    _check_lists(report, {which: set(names) for which, names in lists.items()})
    listed = sorted({name for names in lists.values() for name in names})
    return [(root, listed[start : start + _CHUNK], quick) for start in range(0, len(listed), _CHUNK)]


def _check_lists(report: Report, lists: dict[str, set[str]]) -> None:
    """Training and test pictures differ, and validation pictures are some of the training pictures."""
    train, val, test = (lists.get(which, set()) for which in LISTS)
    if both := sorted(train & test):
        message = f"{len(both)} pictures are in the training list, too: {shorten(both)}"
        report.problems.append(Problem("test", "", message))
    if outside := sorted(val - train):
        message = f"{len(outside)} pictures are not in train_and_val: {shorten(outside)}"
        report.problems.append(Problem("val", "", message))


def check_part(root: Path, names: list[str], quick: bool) -> tuple[int, list[Problem]]:
    """Number of pictures that are there, and problems of these."""
    tree = find_tree(root)
    findings = Findings("pictures")
    present = [name for name in names if tree.picture(name).is_file()]
    for name in sorted(set(names) - set(present)):
        findings.add(tree.picture(name), "listed, but missing")
    for name in present:
        if not tree.has_labels(name):
            findings.add(name, "has no labels")
    for name in chosen(present, quick):
        _check_picture(findings, tree, name)
    return len(present), findings.problems


def _check_picture(findings: Findings, tree: Tree, name: str) -> None:
    path = tree.picture(name)
    picture = findings.attempt(path, lambda: read_image(path))
    if tree.has_labels(name):
        labels = findings.attempt(path, lambda: tree.labels(name))
        if labels is not None:
            _check_labels(findings, path, labels, picture)
    for box in findings.attempt(path, lambda: tree.boxes(name)) or []:
        if box.empty:
            findings.add(path, f"the box of a {box.name} has no area: {box[1:]}", note=True)
        elif picture is not None and (box.xmin < 0 or box.ymin < 0 or _outside(box[3:], picture)):
            findings.add(path, f"the box of a {box.name} leaves the picture of {text(picture.shape)} pixels: {box[1:]}")


def _outside(corner: tuple[int, ...], picture: np.ndarray) -> bool:
    return corner[0] > picture.shape[1] or corner[1] > picture.shape[0]


def _check_labels(findings: Findings, path: Path, labels: np.ndarray, picture: np.ndarray | None) -> None:
    if picture is not None and labels.shape != picture.shape[:2]:
        usable = findings.attempt(path, lambda: fit_labels(labels, (picture.shape[0], picture.shape[1]), path))
        if usable is not None:
            findings.add(path, f"label of {text(labels.shape)}, picture of {text(picture.shape)} pixels; it is resized")
    unknown = int((labels == IGNORE).sum())
    if unknown:
        findings.add(path, f"{unknown} pixels have ids other than 0..{IIT_AFF.background}; they are read as not judged")
    if not (labels[labels != IGNORE] > 0).any():
        findings.add(path, "nothing is labelled", note=True)
