"""Published numbers, to be shown beside one's own. Every table names its source; nothing here was measured by us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vidaff.datasets.taxonomies import IIT_AFF, UMD, Taxonomy
from vidaff.datasets.taxonomy import AFFORDANCES

SOURCE: Final = (
    'S. Thermos, P. Daras, G. Potamianos, "A Deep Learning Approach to Object Affordance Segmentation", ICASSP 2020'
)
"""Source of the tables of SOR3D-AFF."""

OVERALL: Final[dict[str, dict[str, float]]] = {
    "RGB-D + attention + 3D flow, video": {"iou": 0.72, "f": 0.80, "f_w": 0.81},
    "RGB-D + attention + 3D flow, static image": {"iou": 0.54, "f": 0.58, "f_w": 0.59},
    "AffordanceNet, static image": {"iou": 0.56, "f": 0.62, "f_w": 0.62},
}

IOU_PER_CLASS: Final[dict[str, dict[str, float]]] = {
    "video": dict(zip(AFFORDANCES, (0.45, 0.87, 0.74, 0.91, 0.69, 0.78, 0.73, 0.67, 0.62), strict=True)),
    "static": dict(zip(AFFORDANCES, (0.34, 0.65, 0.58, 0.69, 0.51, 0.61, 0.56, 0.51, 0.39), strict=True)),
}

ABLATION: Final[dict[str, dict[str, float]]] = {
    "RGB, video": {"iou": 0.62, "f": 0.73},
    "RGB + attention, video": {"iou": 0.65, "f": 0.77},
    "RGB + attention + 2D flow, video": {"iou": 0.66, "f": 0.78},
    "RGB-D, video": {"iou": 0.64, "f": 0.77},
    "RGB-D + attention, video": {"iou": 0.70, "f": 0.79},
    "RGB + attention + 2D flow, static image": {"iou": 0.47, "f": 0.53},
}
"""The paper's ablation (its Table 3), without the full model's rows, which are in :data:`OVERALL`."""


@dataclass(frozen=True)
class Published:
    """Scores of one method on a set of still pictures, 0..1: ``mean`` over classes, ``per_class`` where known.

    ``metric``: a key of :data:`vidaff.protocols.STILL_METRICS`.
    """

    name: str
    source: str
    metric: str
    mean: float
    per_class: Mapping[str, float] = field(default_factory=dict)


def _row(taxonomy: Taxonomy, name: str, source: str, metric: str, mean: float, percent: str = "") -> Published:
    """A row of a published table; ``percent``: its classes in the set's order, times 100."""
    values = [float(text) / 100 for text in percent.split()]
    per_class = dict(zip(taxonomy.affordances, values, strict=True)) if values else {}
    return Published(name, source, metric, mean / 100, per_class)


_AFF_SEG: Final = "aff-seg, arXiv 2409.01814: category split, all 14,020 test frames, whole pictures"
_AFFKERNEL: Final = "affkernel, README of the repository"

STILLS: Final[dict[str, tuple[Published, ...]]] = {
    "umd": (
        _row(UMD, "SegNet", _AFF_SEG, "iou", 57.44, "56.83 71.71 32.48 82.35 50.59 36.59 71.50"),
        _row(UMD, "AffordanceNet", _AFF_SEG, "iou", 63.33, "52.43 72.14 32.16 84.59 71.20 47.24 83.58"),
        _row(UMD, "DRNAtt", _AFF_SEG, "iou", 69.50, "59.64 74.08 40.33 84.69 71.64 71.71 84.44"),
        _row(UMD, "Mask2Former-AFF", _AFF_SEG, "iou", 75.86, "68.73 87.43 56.52 85.57 66.72 79.42 86.66"),
        _row(UMD, "AffContext", "its paper: object-agnostic, novel categories", "margolin", 69, "60 37 60 61 80 88 94"),
        _row(
            UMD, "AffNet-DR", "repository affnetDR: trained on synthetic pictures", "margolin", 67.6,
            "61.1 60.4 63.9 71 80.4 57.8 78.5",
        ),
        _row(UMD, "affkernel, all frames", f"{_AFFKERNEL}: category split", "margolin", 87.5),
        _row(UMD, "affkernel, manual frames", f"{_AFFKERNEL}: category split", "margolin", 88.0),
    ),
    "iit-aff": (
        _row(
            IIT_AFF, "AffordanceNet", "its paper (support as its README repeats it, which the mean does not bear out)",
            "margolin", 73.35, "79.61 75.68 77.81 77.50 68.48 70.75 69.57 69.57 70.98",
        ),
        _row(
            IIT_AFF, "AffordanceNet, re-scored", "its released weights, scored again by others", "margolin", 74.06,
            "73.68 64.71 82.81 81.09 64.13 82.13 65.90 74.43 77.63",
        ),
        _row(IIT_AFF, "AffordanceNet, TensorFlow", "re-implementation by others", "margolin", 74.87),
        _row(IIT_AFF, "affkernel", _AFFKERNEL, "margolin", 86.75),
        _row(IIT_AFF, "affkernel", _AFFKERNEL, "margolin_03", 85.74),
    ),
}  # fmt: skip
"""Rows by data set. Protocols differ (crops or whole pictures, frames, stale rows): each row names its source."""


def published_overall(dataset: str) -> dict[str, dict[str, float]]:
    """Rows to print beside an evaluation of ``dataset``; empty when nothing was published for it."""
    return {**OVERALL, **ABLATION} if dataset == "sor3d-aff" else {}
