"""What belongs to a whole training set: boxes, similarity tables, names of parts, and the record of the labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.agd20k import Box, LabelFolder, SimilarityTable
from vidaff.datasets.synthetic.agd20k_files import VIEWS, labels_of, picture_of, picture_path, truth_of
from vidaff.datasets.synthetic.agd20k_labels import FAULTS, STEADY, WEAK, WEAK_SHARES, detected_box, fault_of
from vidaff.datasets.synthetic.agd20k_plan import Pair, PicturePlan
from vidaff.datasets.synthetic.agd20k_similarity import descriptor
from vidaff.datasets.synthetic.agd20k_things import type_of
from vidaff.io import read_image, read_label_image, write_json


def write_tables(root: Path, split: str, plans: list[PicturePlan]) -> None:
    """Write the tables of a split's training set, whose pictures and object masks (of ``plans``) are on disk."""
    labels, truth = labels_of(root, split), truth_of(root, split)
    boxes: dict[str, dict[str, list[list[float]]]] = {"egocentric": {}, "exocentric": {}}
    looks: dict[tuple[Pair, str], list[tuple[str, np.ndarray]]] = {}
    for plan in plans:
        view, picture = VIEWS[plan.role], picture_of(plan)
        mask = read_label_image(labels.mask(f"objects/{view}", picture)) > 127
        boxes[view][picture.name] = detected_box(plan, mask)
        vector = descriptor(read_image(picture_path(root, split, plan)), mask)
        if boxes[view][picture.name]:
            looks.setdefault((picture.pair, view), []).append((picture.file, vector))
    labels.write_boxes("parts", {plan.name: _part_box(plan, labels) for plan in plans if plan.role == "train"})
    for folder in (labels, truth):
        for view, found in boxes.items():
            folder.write_boxes(view, found)
        _write_similarity(folder, looks)
    labels.write_record(_record(plans))
    truth.write_record({"generator": "vidaff synth agd20k", "initial": "the true parts, not pseudo-labels"})
    write_json(truth.folder / "parts.json", _part_names(plans))


def _part_box(plan: PicturePlan, labels: LabelFolder) -> list[list[float]]:
    """The box of the initial label, as a detector of parts would give it; none where it found nothing."""
    path = labels.find_mask("initial", picture_of(plan))
    return [] if path is None else detected_box(plan, read_label_image(path) > 127)


def _write_similarity(folder: LabelFolder, looks: dict[tuple[Pair, str], list[tuple[str, np.ndarray]]]) -> None:
    for pair in sorted({pair for pair, _ in looks}):
        rows, columns = looks.get((pair, "egocentric")), looks.get((pair, "exocentric"))
        if not rows or not columns:
            continue
        values = np.stack([vector for _, vector in rows]) @ np.stack([vector for _, vector in columns]).T
        names = [tuple(Box(file, 0) for file, _ in side) for side in (rows, columns)]
        folder.write_similarity(*pair, SimilarityTable(values, *names))


def _record(plans: list[PicturePlan]) -> dict[str, Any]:
    """How the labels were made, and how many pictures got which fault."""
    faults = Counter(fault_of(plan) for plan in plans if plan.role == "train")
    return {
        "generator": "vidaff synth agd20k",
        "shares": dict(zip(FAULTS, STEADY, strict=True)),
        "shares_of_weak_pairs": dict(zip(FAULTS, WEAK_SHARES, strict=True)),
        "weak_pairs": sorted(map(list, WEAK)),
        "pictures": {fault: faults[fault] for fault in FAULTS},
        "faults": {plan.name: fault_of(plan) for plan in plans if plan.role == "train"},
    }


def _part_names(plans: list[PicturePlan]) -> dict[str, Any]:
    """Per object the names of its parts, in the order of their numbers, and what each affordance concerns."""
    names = {}
    for noun in sorted({plan.noun for plan in plans}):
        example = type_of(noun).build(np.random.default_rng(0))
        concerns = {verb: list(handling.parts) for verb, handling in example.handlings.items()}
        names[noun] = {"parts": [part.name for part in example.model.parts], "affordances": concerns}
    return names
