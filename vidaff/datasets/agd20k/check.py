"""``vidaff data check agd20k``: pictures, ground truth and labels for what they should be; counts as published.

What training does without (a label that was not found, a table that is missing) is a note, not a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from vidaff.datasets.agd20k.classes import (
    LAST_HARD_TRAIN_OBJECT,
    UNSEEN_AFFORDANCES,
    UNSEEN_TEST_OBJECTS,
    UNSEEN_TRAIN_OBJECTS,
    Classes,
)
from vidaff.datasets.agd20k.labels import Boxes, SimilarityTable
from vidaff.datasets.agd20k.pixels import orientation, read_map, read_picture
from vidaff.datasets.agd20k.places import LabelPlaces
from vidaff.datasets.agd20k.text import read_text_features
from vidaff.datasets.agd20k.tree import Agd20kTree, Picture, is_picture, list_files
from vidaff.datasets.check import Problem, Report
from vidaff.datasets.check_parts import Findings, chosen, shorten, text
from vidaff.errors import VidaffError

TEST = {"Seen": 1_675, "Unseen": 540}
"""Test pictures with ground truth. Source: Qian et al., "AffordanceLLM", CVPR workshops 2024, whose two divisions of
the annotated pictures are 1,135 + 540 and 868 + 807."""
EXOCENTRIC = {"Unseen": 13_323}
HARD = {"train": 11_889, "test": 807}
"""Exocentric training pictures, and test pictures, of the split ``hard``. Source: the same."""
_AREAS = ("trainset/egocentric", "trainset/exocentric", "testset/egocentric")
_MASKS = ("initial", "raw", "refined", "objects/egocentric")
Task = tuple[Path, str, str, str, str, Boxes, bool]


def parts(root: Path, report: Report, quick: bool) -> list[Task]:
    """Folders of pictures to look through; what is wrong with the tree as a whole goes into ``report``."""
    tasks: list[Task] = []
    for split in ("Seen", "Unseen"):
        try:
            tree = Agd20kTree(root, split.lower())
        except VidaffError as error:
            report.problems.append(Problem(split, "", str(error)))
            continue
        tasks += _split_parts(tree, split, report, quick)
    if not (root / "synth.json").is_file():
        _compare_counts(tasks, report)
    return tasks


def _split_parts(tree: Agd20kTree, split: str, report: Report, quick: bool) -> list[Task]:
    findings = Findings(split)
    pairs = {area: list(_pairs(findings, tree.root / split / area, tree.classes)) for area in _AREAS}
    for area, found in pairs.items():
        report.recordings[f"{split}/{area}"] = sum(
            is_picture(file) for pair in found for file in list_files((tree.root / split / area).joinpath(*pair))
        )
    boxes = _label_findings(findings, tree, pairs["trainset/egocentric"])
    report.problems += findings.problems
    detected = {area: boxes.get(area.removeprefix("trainset/"), {}) for area in _AREAS}
    return [
        (tree.root, split, area, *pair, _of_pair(detected[area], pair), quick)
        for area in _AREAS
        for pair in pairs[area]
    ]


def _pairs(findings: Findings, folder: Path, classes: Classes) -> Iterator[tuple[str, str]]:
    """Folders affordance/object; those named after no class are findings."""
    if not folder.is_dir():
        findings.add(f"{folder.parent.name}/{folder.name}", "no such folder")
        return
    for level, known in ((1, classes.affordances), (2, classes.objects)):
        for path in sorted(folder.glob("/".join("*" * level))):
            shown = path.relative_to(folder.parent.parent).as_posix()
            if path.is_file():
                findings.add(shown, "a file where folders of classes are expected: not read", note=True)
            elif path.name not in known:
                findings.add(shown, f"no {'affordance' if level == 1 else 'object'} of AGD20K (or of classes.json)")
            elif level == 2 and path.parent.name in classes.affordances:
                yield path.parent.name, path.name


def _of_pair(boxes: Boxes, pair: tuple[str, str]) -> Boxes:
    start = "/".join(pair) + "/"
    return {name: found for name, found in boxes.items() if name.startswith(start)}


def _label_findings(findings: Findings, tree: Agd20kTree, pairs: list[tuple[str, str]]) -> dict[str, Boxes]:
    """Boxes by view; broken or missing boxes, tables and text features are findings."""
    places = LabelPlaces(tree)
    boxes: dict[str, Boxes] = {}
    for view in ("egocentric", "exocentric"):
        found = findings.attempt(tree.trainset / f"{view} boxes", lambda: places.boxes(view))  # noqa: B023  (at once)
        if found is None:
            findings.add("trainset", f"no boxes of the objects in {view} pictures", note=True)
        boxes[view] = found or {}
    if boxes["egocentric"] and boxes["exocentric"]:
        _similarity(findings, places, pairs, boxes)
    _text(findings, tree, pairs)
    return boxes


def _similarity(findings: Findings, places: LabelPlaces, pairs: list[tuple[str, str]], boxes: dict[str, Boxes]) -> None:
    without = []
    for pair in pairs:
        path = places.authors.similarity_path(*pair)
        table = findings.attempt(path, lambda: places.similarity(*pair))  # noqa: B023  (called at once)
        if table is None:
            without.append(" ".join(pair))
        else:
            _table(findings, " ".join(pair), table, pair, boxes)
    if without:
        findings.add(
            "trainset", f"no similarity table for {len(without)} of {len(pairs)} pairs: {shorten(without)}", note=True
        )


def _table(
    findings: Findings, name: str, table: SimilarityTable, pair: tuple[str, str], boxes: dict[str, Boxes]
) -> None:
    for view, listed in (("egocentric", table.rows), ("exocentric", table.columns)):
        found = boxes[view]
        gone = [one.file for one in listed if one.number >= len(found.get(Picture(*pair, one.file).name, ()))]
        if gone:
            findings.add(f"similarity of {name}", f"names {len(gone)} {view} boxes that are not there: {shorten(gone)}")
    if np.isnan(table.similarity).any():
        findings.add(f"similarity of {name}", "holds numbers that are none (NaN)", note=True)


def _text(findings: Findings, tree: Agd20kTree, pairs: list[tuple[str, str]]) -> None:
    try:
        features = read_text_features(tree.root, tree.split)
        if features is None:
            findings.add("", "no text features", note=True)
        else:
            features.verb_table(tree.classes, pairs)
            features.noun_table(tree.classes, pairs)
            features.part_table(pairs)
    except VidaffError as error:
        findings.add("text features", str(error))


def _compare_counts(tasks: list[Task], report: Report) -> None:
    """Published counts. Those of exocentric pictures are another paper's, and only noted."""
    for split in TEST:
        area = f"{split}/testset/egocentric"
        folder = [task for task in tasks if task[1:3] == (split, "testset/egocentric")]
        annotated: Counter[str] = Counter()
        for task in folder:
            annotated[task[4]] += sum(_annotated(*task[:5]))
        if area in report.recordings and annotated.total() != TEST[split]:
            _count(report, split, f"{annotated.total()} test pictures with ground truth", TEST[split], note=False)
        hard = sum(number for thing, number in annotated.items() if thing > LAST_HARD_TRAIN_OBJECT)
        if split == "Seen" and folder and hard != HARD["test"]:
            _count(report, split, f"{hard} test pictures in the split 'hard'", HARD["test"], note=True)
    exocentric = [task for task in tasks if task[1:3] == ("Seen", "trainset/exocentric")]
    hard = sum(_number(task) for task in exocentric if task[4] <= LAST_HARD_TRAIN_OBJECT)
    if exocentric and hard != HARD["train"]:
        _count(report, "Seen", f"{hard} exocentric pictures in the split 'hard'", HARD["train"], note=True)
    found = report.recordings.get("Unseen/trainset/exocentric")
    if found is not None and found != EXOCENTRIC["Unseen"]:
        _count(report, "Unseen", f"{found} exocentric training pictures", EXOCENTRIC["Unseen"], note=True)
    _compare_unseen(tasks, report)


def _count(report: Report, split: str, found: str, published: int, *, note: bool) -> None:
    report.problems.append(Problem(split, "", f"{found}, {published} were published", note))


def _compare_unseen(tasks: list[Task], report: Report) -> None:
    """Classes of Unseen; what is on disk counts, so a difference is only noted."""
    unseen = [task for task in tasks if task[1] == "Unseen"]
    lists = (
        ("affordances", {task[3] for task in unseen}, UNSEEN_AFFORDANCES),
        ("training objects", {task[4] for task in unseen if task[2] != _AREAS[2]}, UNSEEN_TRAIN_OBJECTS),
        ("test objects", {task[4] for task in unseen if task[2] == _AREAS[2]}, UNSEEN_TEST_OBJECTS),
    )
    for what, found, known in lists:
        odd = sorted(found ^ set(known))
        if unseen and odd:
            message = f"other {what} than published, {len(odd)} more or less: {shorten(odd)}"
            report.problems.append(Problem("Unseen", "", message, note=True))


def _number(task: Task) -> int:
    root, split, area, affordance, thing = task[:5]
    return sum(map(is_picture, list_files(root / split / area / affordance / thing)))


def _annotated(root: Path, split: str, area: str, affordance: str, thing: str) -> Iterator[bool]:
    """Whether each picture of a test folder has ground truth."""
    stems = {Path(file).stem for file in _files(root / split / "testset" / "GT" / affordance / thing)}
    return (
        is_picture(file) and Path(file).stem in stems
        for file in list_files(root.joinpath(split, area, affordance, thing))
    )


def _files(folder: Path) -> list[str]:
    return list_files(folder) if folder.is_dir() else []


def check_part(
    root: Path, split: str, area: str, affordance: str, thing: str, boxes: Boxes, quick: bool
) -> tuple[int, list[Problem]]:
    """Number of pictures and problems of one folder of pictures."""
    findings = Findings(f"{split}/{area}/{affordance}/{thing}")
    folder = root / split / area / affordance / thing
    files = list_files(folder)
    pictures = [Picture(affordance, thing, file) for file in files if is_picture(file)]
    _strays(findings, files, pictures)
    tree = Agd20kTree(root, split.lower())
    places = LabelPlaces(tree)
    _missing(findings, tree, places, area, pictures, boxes)
    for picture in chosen(pictures, quick):
        rgb = findings.attempt(folder / picture.file, lambda: read_picture(folder / picture.file))  # noqa: B023
        if rgb is None:
            continue
        if orientation(folder / picture.file) > 1:
            findings.add(picture.file, "turned by its EXIF data, as are labels of its stored size", note=True)
        _maps(findings, tree, places, area, picture, (rgb.shape[0], rgb.shape[1]))
        _boxes(findings, picture, boxes.get(picture.name), rgb.shape)
    return len(pictures), findings.problems


def _strays(findings: Findings, files: list[str], pictures: list[Picture]) -> None:
    strays = sorted(set(files) - {picture.file for picture in pictures})
    if strays:
        findings.add("", f"{len(strays)} files that are no pictures, not read: {shorten(strays)}", note=True)
    twice = [stem for stem, number in Counter(picture.stem for picture in pictures).items() if number > 1]
    if twice:
        findings.add("", f"pictures of one name but for the ending share labels: {shorten(sorted(twice))}")
    if not pictures:
        findings.add("", "holds no pictures", note=True)


def _missing(
    findings: Findings, tree: Agd20kTree, places: LabelPlaces, area: str, pictures: list[Picture], boxes: Boxes
) -> None:
    """Pictures without a label, a box or ground truth, and ground truth without a picture."""
    if area.startswith("test"):
        _say(
            findings,
            "no ground truth: no test",
            [p for p in pictures if not tree.ground_truth_path(p).is_file()],
            pictures,
        )
        folder = tree.testset.joinpath("GT", *findings.recording.split("/")[-2:])
        lonely = sorted({Path(file).stem for file in _files(folder)} - {picture.stem for picture in pictures})
        if lonely:
            findings.add("", f"{len(lonely)} ground truths without a picture: {shorten(lonely)}")
        return
    if boxes:
        _say(findings, "no box of the object", [p for p in pictures if not len(boxes.get(p.name, ()))], pictures)
    if area.endswith("egocentric"):
        unlabelled = [p for p in pictures if not any(places.find_mask(kind, p) for kind in _MASKS[:3])]
        _say(findings, "no pseudo-label: not trained on", unlabelled, pictures)


def _say(findings: Findings, what: str, found: list[Picture], everything: list[Picture]) -> None:
    if found:
        names = shorten([picture.file for picture in found])
        findings.add("", f"{len(found)} of {len(everything)} pictures have {what}: {names}", note=True)


def _maps(
    findings: Findings, tree: Agd20kTree, places: LabelPlaces, area: str, picture: Picture, size: tuple[int, int]
) -> None:
    """Ground truth and masks read, have the picture's size, and mark something."""
    side, view = ("test" if area.startswith("test") else "train"), area.partition("/")[2]
    for what, path in _map_paths(tree, places, side, view, picture):
        read: Callable[[], np.ndarray] = lambda: read_map(path, tree.path(side, view, picture), size)  # noqa: B023, E731
        values = findings.attempt(path, read)
        if values is None:
            continue
        if not values.any():
            findings.add(path, f"{what}: nothing is marked; it counts as uniform", note=True)


def _map_paths(
    tree: Agd20kTree, places: LabelPlaces, side: str, view: str, picture: Picture
) -> Iterable[tuple[str, Path]]:
    if side == "test":
        path = tree.ground_truth_path(picture)
        return [("ground truth", path)] if path.is_file() else []
    kinds = _MASKS if view == "egocentric" else ("objects/exocentric",)
    found = ((kind, places.find_mask(kind, picture)) for kind in kinds)
    return [(kind, path) for kind, path in found if path is not None]


def _boxes(findings: Findings, picture: Picture, boxes: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if boxes is None or not len(boxes):
        return
    left, top, right, bottom = boxes[:, :4].T
    outside = (left < -1) | (top < -1) | (right > shape[1] + 1) | (bottom > shape[0] + 1)
    if outside.any():
        findings.add(picture.file, f"{outside.sum()} boxes leave the picture of {text(shape)} pixels; is it turned?")
    if ((right <= left) | (bottom <= top)).any():
        findings.add(picture.file, "a box without area")
