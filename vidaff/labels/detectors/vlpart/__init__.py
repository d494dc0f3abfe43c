"""VLPart: open-vocabulary part detection, without detectron2.

A Swin Transformer with a feature pyramid proposes regions; three box heads refine them in turn and compare each with
the CLIP text feature of every name asked for.

Source: Sun et al., "Going Denser with Open-Vocabulary Part Segmentation", ICCV 2023, in the variant that
grounded-segment-any-parts and WSAG-PLSP use (box branch only).
"""

from __future__ import annotations

from vidaff.labels.detectors.vlpart.detector import VLPart
from vidaff.labels.detectors.vlpart.network import VLPartNet
from vidaff.labels.detectors.vlpart.settings import VLPartSettings

__all__ = ["VLPart", "VLPartNet", "VLPartSettings"]
