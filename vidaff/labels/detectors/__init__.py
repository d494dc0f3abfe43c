"""Part detectors, imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from vidaff.labels.detectors.vlpart import VLPart
    from vidaff.labels.settings import DetectorSettings
    from vidaff.labels.types import PartDetector

__all__ = ["VLPart", "for_picture", "load_detector"]

Tool = TypeVar("Tool")


def __getattr__(name: str) -> Any:
    if name == "VLPart":
        from vidaff.labels.detectors.vlpart import VLPart

        return VLPart
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_detector(settings: DetectorSettings, *, device: str = "auto") -> PartDetector:
    """The detector that ``settings`` name.

    Args:
        settings: kind, weights, and numbers.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` ...

    Raises:
        VidaffError: weights that are not named, missing, or of another kind.
    """
    if settings.kind == "file":
        from vidaff.labels.detectors.files import FileBoxes

        return FileBoxes.load(settings)
    from vidaff.labels.loading import choose_device

    where = choose_device(device)
    if settings.kind == "grounding-dino":
        from vidaff.labels.detectors.grounding_dino import GroundingDino

        return GroundingDino.load(settings, where)
    if settings.kind == "owlv2":
        from vidaff.labels.detectors.owlv2 import OwlV2

        return OwlV2.load(settings, where)
    if settings.kind == "sam3":
        from vidaff.labels.detectors.sam3 import Sam3

        return Sam3.load(settings, where)
    from vidaff.labels.detectors.vlpart.loading import load_vlpart

    return load_vlpart(settings, where)


def for_picture(tool: Tool, name: str, view: str | None = None) -> Tool:
    """A detector, segmenter or proposer for one picture. Only those of files must know which one they see.

    Args:
        tool: any of them; returned itself when the name tells it nothing.
        name: of the picture, ``carry/skis/skis_000001.jpg``.
        view: ``egocentric`` or ``exocentric``, where a data set has both.
    """
    bind = getattr(tool, "for_picture", None)
    bound: Tool = tool if bind is None else bind(name, view)
    return bound
