"""A rendered picture on disk with its labels, in one split or in both."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from vidaff.datasets.agd20k import LabelFolder, Picture
from vidaff.datasets.synthetic.agd20k_labels import heatmap, initial_label, roughened
from vidaff.datasets.synthetic.agd20k_plan import PicturePlan
from vidaff.datasets.synthetic.agd20k_scene import Still, render_ego
from vidaff.datasets.synthetic.agd20k_use import render_exo
from vidaff.errors import VidaffError

VIEWS = {"train": "egocentric", "exo": "exocentric", "test": "egocentric"}
_JPEG_QUALITY = 95


def side_folder(root: Path, split: str, plan: PicturePlan) -> Path:
    """``trainset`` or ``testset`` of a split."""
    return root / split / ("testset" if plan.role == "test" else "trainset")


def picture_path(root: Path, split: str, plan: PicturePlan) -> Path:
    """File of a picture in a split."""
    return side_folder(root, split, plan) / VIEWS[plan.role] / plan.name


def picture_of(plan: PicturePlan) -> Picture:
    """The picture as the loader calls it."""
    return Picture(plan.verb, plan.noun, f"{plan.stem}.jpg")


def labels_of(root: Path, split: str) -> LabelFolder:
    """Imperfect labels of a split's training pictures."""
    return LabelFolder(root / split / "trainset" / "labels")


def truth_of(root: Path, split: str) -> LabelFolder:
    """True masks of a split's training pictures, as another label folder."""
    return LabelFolder(root / split / "trainset" / "truth")


def truth_path(root: Path, split: str, plan: PicturePlan) -> Path:
    """Ground-truth heatmap of a test picture."""
    return root / split / "testset" / "GT" / plan.verb / plan.noun / f"{plan.stem}.png"


def parts_path(root: Path, split: str, plan: PicturePlan) -> Path:
    """Numbers of the visible parts of a training picture (8 bits; 0: none, k: the k-th name in ``parts.json``)."""
    return truth_of(root, split).folder / "parts" / plan.verb / plan.noun / f"{plan.stem}.png"


def render_files(plan: PicturePlan, root: Path, splits: Iterable[str], size: int) -> None:
    """Render a picture and write it with its labels into the splits.

    The picture comes last, so that it is there only when its labels are. Raises :class:`VidaffError` when the disk is
    full or not writable.
    """
    still = render_exo(plan, size) if plan.role == "exo" else render_ego(plan, size)
    region = plan.type.build(plan.instance_rng()).region(plan.verb)
    picture = _encoded(".jpg", cv2.cvtColor(still.rgb, cv2.COLOR_RGB2BGR))
    for split in splits:
        if plan.role == "test":
            truth = np.isin(still.parts, region + 1)
            _put(truth_path(root, split, plan), _encoded(".png", heatmap(plan, truth)))
        else:
            _write_labels(plan, root, split, still, region)
        _put(picture_path(root, split, plan), picture)


def _write_labels(plan: PicturePlan, root: Path, split: str, still: Still, region: np.ndarray) -> None:
    labels, picture = labels_of(root, split), picture_of(plan)
    outline = roughened(plan.rng("outline"), still.parts > 0)
    _put_mask(labels.mask(f"objects/{VIEWS[plan.role]}", picture), outline)
    if plan.role == "exo":
        return
    initial = initial_label(plan, still.parts, region)
    if initial is not None:
        _put_mask(labels.mask("initial", picture), initial)
    _put_mask(truth_of(root, split).mask("initial", picture), np.isin(still.parts, region + 1))
    _put(parts_path(root, split, plan), _encoded(".png", still.parts))


def _put_mask(path: Path, mask: np.ndarray) -> None:
    _put(path, _encoded(".png", mask.astype(np.uint8) * 255))


def _encoded(suffix: str, image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else [])
    if not ok:
        raise OSError(f"a picture of {image.shape} could not be encoded")
    return data.tobytes()


def _put(path: Path, data: bytes) -> None:
    """Write under a temporary name and rename; not synced, which would take most of the time of so many small files."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise VidaffError(f"cannot write {path}: {error.strerror or error}; free some space and --resume") from error
