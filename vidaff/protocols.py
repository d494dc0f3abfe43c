"""What an evaluation reports of each data set: its classes, its metrics, and what has to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vidaff.datasets import STILLS
from vidaff.datasets.taxonomies import SOR3D_AFF, Taxonomy, taxonomy_of

OVERALL_METRICS: Final = {
    "mean_iou": "IoU",
    "mean_f1": "F",
    "f_w": "F_w",
    "mean_margolin": "Margolin F, b2=1",
    "mean_margolin_03": "Margolin F, b2=0.3",
    "action_accuracy": "action accuracy",
}
"""Overall metrics of clips in the order of the tables: key -> heading."""
CLASS_METRICS: Final = {
    "iou": "IoU",
    "f1": "F",
    "margolin": "Margolin F, b2=1",
    "margolin_03": "Margolin F, b2=0.3",
}
"""b2: beta squared. Margolin's F is no F_w, the paper's class-weighted overall F."""
STILL_METRICS: Final = {
    "iou": "IoU",
    "f1": "F",
    "margolin": "F^w, b2=1",
    "margolin_03": "F^w, b2=0.3",
    "margolin_legacy": "F^w, b2=1, legacy",
}
"""Metrics of still pictures, per class and, with ``mean_`` before, overall."""
RANKED: Final = {"ranked": "R^w"}
NOTES: Final = (
    "IoU, F: pixels of all pictures are counted, then divided. F^w: Margolin's weighted F (b2: beta squared) of each "
    "picture that shows the class, averaged over pictures; overall numbers average classes. Legacy: a picture that "
    "lacks a class keeps its score of the class before, as in the published evaluators of AffordanceNet's lineage; "
    "this column is for comparison with numbers made by them only."
)
RANKED_NOTE: Final = "R^w: F^w against each rank of the affordance, weighted by rank; its best value is far below 1."


@dataclass(frozen=True)
class Protocol:
    """Classes and metrics of a data set; ``overall`` and ``per_class``: key -> heading, in the order of the tables.

    ``actions``: whether the clips have actions to be recognised.
    """

    taxonomy: Taxonomy
    overall: Mapping[str, str]
    per_class: Mapping[str, str]
    actions: bool
    notes: str = ""

    @property
    def stills(self) -> bool:
        """Whether the set is one of still pictures."""
        return not self.actions

    @property
    def ranked(self) -> bool:
        """Whether the ranks of UMD count."""
        return "ranked" in self.per_class


CLIPS: Final = Protocol(SOR3D_AFF, OVERALL_METRICS, CLASS_METRICS, actions=True)


def protocol_of(dataset: str, *, ranked: bool = False) -> Protocol:
    """The protocol of a data set; ``ranked`` adds the ranked F of UMD, where rank maps are at hand.

    Raises:
        VidaffError: a data set without affordance labels.
    """
    taxonomy = taxonomy_of(dataset)
    if dataset not in STILLS:
        return replace(CLIPS, taxonomy=taxonomy)
    metrics = {**STILL_METRICS, **(RANKED if ranked else {})}
    overall = {f"mean_{key}": heading for key, heading in metrics.items()}
    return Protocol(taxonomy, overall, metrics, actions=False, notes=f"{NOTES} {RANKED_NOTE}" if ranked else NOTES)
