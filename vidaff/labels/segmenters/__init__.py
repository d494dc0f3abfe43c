"""Segmenters of boxes and proposers of regions, loaded when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidaff.labels.settings import SegmenterSettings
    from vidaff.labels.types import BoxSegmenter, PartDetector, RegionProposer

__all__ = ["load_proposer", "load_segmenter"]


def load_segmenter(
    settings: SegmenterSettings, *, device: str = "auto", detector: PartDetector | None = None
) -> BoxSegmenter:
    """The segmenter that ``settings`` name.

    Args:
        settings: kind, weights, and numbers.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` ...
        detector: that the boxes come from. SAM 3 makes boxes and masks at once: a detector of this kind is returned
            itself for the kind ``sam3``. Without it, SAM 3 takes any boxes, by its tracker.

    Raises:
        VidaffError: weights that are not named, missing, or of another kind.
    """
    from vidaff.labels.loading import choose_device

    if settings.kind == "sam3" and detector is not None and detector.name == "sam3":
        from vidaff.labels.detectors.sam3 import Sam3

        if isinstance(detector, Sam3):
            return detector
    if settings.kind == "file":
        from vidaff.labels.segmenters.files import FileMasks

        return FileMasks.load(settings)
    from vidaff.labels.segmenters.networks import SegmentAnything, TransformersSam
    from vidaff.labels.segmenters.prompted import PromptedSam, SamNetwork

    where = choose_device(device)
    network: SamNetwork
    if settings.kind == "sam":
        network = SegmentAnything.load(settings.weights, where)
    else:
        network = TransformersSam.load(settings.kind, settings.weights, where)
    return PromptedSam(settings.kind, network, settings)


def load_proposer(
    settings: SegmenterSettings, *, device: str = "auto", segmenter: BoxSegmenter | None = None
) -> RegionProposer:
    """The proposer of regions that ``settings`` name: ``sam``, ``sam-hf``, ``sam2`` or ``file``.

    Args:
        settings: kind, weights, and numbers.
        device: as for :func:`load_segmenter`.
        segmenter: one that is loaded; it is returned itself if it was loaded with the same settings.

    Raises:
        VidaffError: as :func:`load_segmenter`, and for SAM 3, which proposes none.
    """
    from vidaff.errors import VidaffError
    from vidaff.labels.types import RegionProposer

    if settings.kind == "sam3":
        raise VidaffError("SAM 3 proposes no unnamed regions; choose sam, sam-hf, sam2 or file as proposer")
    if getattr(segmenter, "settings", None) == settings and isinstance(segmenter, RegionProposer):
        return segmenter
    loaded = load_segmenter(settings, device=device)
    assert isinstance(loaded, RegionProposer)
    return loaded
