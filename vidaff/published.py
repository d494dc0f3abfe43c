"""Published numbers, to be shown beside one's own. Every table names its source; nothing here was measured by us."""

from __future__ import annotations

from typing import Final

from vidaff.datasets.taxonomy import AFFORDANCES

SOURCE: Final = (
    'S. Thermos, P. Daras, G. Potamianos, "A Deep Learning Approach to Object Affordance Segmentation", ICASSP 2020'
)
"""Source of all tables below, measured on SOR3D-AFF."""

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


def published_overall(dataset: str) -> dict[str, dict[str, float]]:
    """Rows to print beside an evaluation of ``dataset``; empty when nothing was published for it."""
    return {**OVERALL, **ABLATION} if dataset == "sor3d-aff" else {}
