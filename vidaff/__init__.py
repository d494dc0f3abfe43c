"""vidaff: affordances from RGB-D video and from pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vidaff.grounding import AffordanceGrounder as AffordanceGrounder
    from vidaff.predict import VideoSegmenter as VideoSegmenter

_LAZY = {"AffordanceGrounder": "vidaff.grounding", "VideoSegmenter": "vidaff.predict"}
__all__ = ["AffordanceGrounder", "VideoSegmenter", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the heavy public classes only when they are used."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vidaff' has no attribute {name!r}")
