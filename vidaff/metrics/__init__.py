"""Metrics of label maps, heat maps and actions; bootstrap intervals; scores of folders of maps.

* :mod:`~vidaff.metrics.segmentation`: confusion matrices, IoU, F, class-weighted F, over whole sets;
* :mod:`~vidaff.metrics.margolin`: the weighted F-measure of one foreground map, and the ranked one of UMD;
* :mod:`~vidaff.metrics.averages`: from scores per picture to scores per class;
* :mod:`~vidaff.metrics.heatmaps`: KLD, SIM and NSS of AGD20K;
* :mod:`~vidaff.metrics.clips`: what one clip contributes, and bootstrap intervals over clips;
* :mod:`~vidaff.metrics.maps`, :mod:`~vidaff.metrics.folders`, :mod:`~vidaff.metrics.tables`: folders of maps, read,
  scored and reported (``vidaff metrics``); not imported from here.

Worked example::

    meter = SegmentationMeter()
    for pred, target in batches:              # (B, H, W) class ids 0..9; target also 255 = ignore
        meter.update(pred, target)
    scores = meter.compute()
    scores.iou                                # (9,) one per affordance, NaN = the class never occurred
    scores.mean_iou                           # over the affordances that occurred

No part of this package imports torch; tensors are taken as they come.
"""

from vidaff.metrics.averages import class_averages
from vidaff.metrics.clips import ClipOutcome, bootstrap_intervals, summarise
from vidaff.metrics.heatmaps import HeatmapScores, heatmap_scores, kld, nss, resize_heatmap, sim
from vidaff.metrics.margolin import f_beta, ranked_f_measure, weighted_f_measure, weighted_precision_recall
from vidaff.metrics.segmentation import (
    CLASS_WEIGHTS,
    SegmentationMeter,
    SegmentationScores,
    confusion_matrix,
    scores_from_confusion,
)

__all__ = [
    "CLASS_WEIGHTS",
    "ClipOutcome",
    "HeatmapScores",
    "SegmentationMeter",
    "SegmentationScores",
    "bootstrap_intervals",
    "class_averages",
    "confusion_matrix",
    "f_beta",
    "heatmap_scores",
    "kld",
    "nss",
    "ranked_f_measure",
    "resize_heatmap",
    "scores_from_confusion",
    "sim",
    "summarise",
    "weighted_f_measure",
    "weighted_precision_recall",
]
