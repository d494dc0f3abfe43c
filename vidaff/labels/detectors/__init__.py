"""Part detectors, imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidaff.labels.detectors.vlpart import VLPart

__all__ = ["VLPart"]


def __getattr__(name: str) -> Any:
    if name == "VLPart":
        from vidaff.labels.detectors.vlpart import VLPart

        return VLPart
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
