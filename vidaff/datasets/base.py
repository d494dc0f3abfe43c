"""What every clip data set offers, and the one sample type they all return.

A worked example, a clip of 9 frames stored at 96x96::

    clip.rgb          (9, 96, 96, 3) uint8    RGB
    clip.depth        (9, 96, 96)    uint16   millimetres, 0 = missing
    clip.flow         (9, 96, 96, 3) int16    packed scene flow: 0.1 mm units, -32768 = invalid; flow[0] = 0
    clip.mask         (96, 96)       uint8    label of the LAST frame: 0..8 affordance, 9 background, 255 ignore
    clip.affordances  (96, 96)       uint16   last frame: bit k says that the pixel affords class k
    clip.action       3              int      "lift"

No part of this package imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.store import INVALID


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip without reading a pixel.

    ``action`` is an affordance id, -1 when unknown; ``object`` and ``subject`` may be empty.
    """

    name: str
    action: int
    object: str
    subject: str


@dataclass(frozen=True)
class Clip:
    """One RGB-D interaction clip; shapes and units in the module's docstring.

    ``flow[t]`` is how each point of frame ``t`` moved to get there from frame ``t-1`` (X right, Y down, Z away).
    When only some frames were asked for, ``flow`` of the first one still refers to the frame before it.
    ``intrinsics`` belong to the pixel grid of ``rgb`` and ``depth`` as returned. Absent data are ``None``.
    """

    name: str
    rgb: np.ndarray
    depth: np.ndarray | None
    flow: np.ndarray | None
    mask: np.ndarray | None
    affordances: np.ndarray | None
    action: int
    object: str
    subject: str
    intrinsics: Intrinsics | None
    fps: float


class ObjectBox(NamedTuple):
    """A whole object, labelled or not: its name, and its box in pixels of the clip's grid.

    The far sides lie just behind the last pixels.
    """

    name: str
    x0: float
    y0: float
    x1: float
    y1: float


class ClipDataset(ABC):
    """A list of clips with an index that is known up front and pixels that are read on demand."""

    def __init__(self, infos: list[ClipInfo]) -> None:
        self._infos = infos

    def __len__(self) -> int:
        return len(self._infos)

    def info(self, index: int) -> ClipInfo:
        """Name, action, object and subject of clip ``index``, without reading pixels."""
        self._check_index(index)
        return self._infos[index]

    def name(self, index: int) -> str:
        """Name of clip ``index``, unique within the split."""
        return self.info(index).name

    def index_of(self, name: str) -> int:
        """Position of the clip called ``name``; raise :class:`VidaffError` when there is none."""
        for index, info in enumerate(self._infos):
            if info.name == name:
                return index
        raise VidaffError(f"no clip is called {name!r}; there are {len(self)}, for example {self.name(0)!r}")

    def action_counts(self) -> dict[str, int]:
        """Number of clips per action, every action listed; clips without a known action are left out."""
        actions = [info.action for info in self._infos]
        return {name: actions.count(number) for number, name in enumerate(AFFORDANCES)}

    @property
    def options(self) -> dict[str, str]:
        """Options of the data set that decide what this split holds, its defaults included; empty for one without."""
        return {}

    @property
    def object_kinds(self) -> tuple[str, ...]:
        """Names that :meth:`object_boxes` may have; empty where the data set draws no boxes."""
        return ()

    def object_boxes(self, index: int) -> tuple[ObjectBox, ...] | None:
        """Boxes that were drawn around the objects of clip ``index``, last frame; ``None``: nobody drew them."""
        self._check_index(index)
        return None

    @abstractmethod
    def read(self, index: int, frames: slice | None = None) -> Clip:
        """Read clip ``index``, or only its ``frames``; mask and affordances always belong to the clip's last frame."""

    def read_static(self, index: int) -> Clip:
        """Read the last frame only, as a clip of length one whose flow is zero: the static image of the paper.

        Source: Thermos et al., ICASSP 2020, section 4.2 (static inference on the last frame).
        """
        clip = self.read(index, slice(-1, None))
        if clip.flow is None:
            return clip
        still = np.zeros_like(clip.flow)
        if clip.depth is not None:
            still[clip.depth == 0] = INVALID
        return replace(clip, flow=still)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
