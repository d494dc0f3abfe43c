"""Labelled still pictures, offered as clips of one frame.

A worked example, a picture of UMD stored at 96x96::

    clip.rgb          (1, 96, 96, 3) uint8    RGB
    clip.depth        (1, 96, 96)    uint16   millimetres, 0 = missing; None for a set without depth
    clip.flow         None                    one frame does not move
    clip.mask         (96, 96)       uint8    0..K-1 affordance, K background, 255 not judged: `taxonomy`
    clip.affordances  (96, 96)       uint16   bit k: the pixel affords class k; 0 on the background
    clip.action, .subject  -1, ""             nobody acts

Official test sets are the split ``val``, as with SOR3D-AFF.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from vidaff.datasets.base import Clip, ClipDataset, ClipInfo
from vidaff.datasets.geometry import Size, Window
from vidaff.datasets.taxonomies import Taxonomy
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics

FPS = 1.0
"""Frame rate of a clip of one frame: any number would do."""


@dataclass(frozen=True)
class Still:
    """A picture as recorded.

    ``rgb`` (H, W, 3) uint8; ``depth`` (H, W) uint16 mm or ``None``; ``labels`` (H, W) uint8 with the ids of the disk:
    0 background, 1..K, 255 not judged; ``camera`` belongs to this grid. ``affordances`` (H, W) uint16 where the set
    says of more than the label what a pixel affords; ``None``: the label alone.
    """

    rgb: np.ndarray
    depth: np.ndarray | None
    labels: np.ndarray
    camera: Intrinsics | None = None
    affordances: np.ndarray | None = None


class StillDataset(ClipDataset):
    """Reads still pictures on one grid.

    ``size`` is (height, width) of the returned grid; ``None`` keeps the recorded one. ``centre_crop`` is the side of
    the centre square that is looked at, in recorded pixels (the paper's is 300); a smaller picture gives its largest
    centre square. Without it the whole picture is resized. ``picked``: what :meth:`pick` gave.
    """

    taxonomy: ClassVar[Taxonomy]
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Options besides ``size`` and ``centre_crop``, and their values; the first is the default."""

    def __init__(
        self, infos: list[ClipInfo], picked: Mapping[str, str], *, size: Size | None = None,
        centre_crop: int | None = None,
    ) -> None:  # fmt: skip
        if size is not None and min(size) < 8:
            raise VidaffError(f"pictures of {size[1]}x{size[0]} pixels are too small; the least is 8x8")
        if centre_crop is not None and centre_crop < 8:
            raise VidaffError(f"centre_crop must be at least 8, got {centre_crop}")
        super().__init__(infos)
        self._picked = dict(picked)
        self._size, self.centre_crop = size, centre_crop
        bits = np.zeros(256, np.uint16)
        bits[: self.taxonomy.background] = 1 << np.arange(self.taxonomy.background, dtype=np.uint16)
        self._bits, self._ids = bits, self.taxonomy.from_disk()

    @classmethod
    def pick(cls, name: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Values of :attr:`choices`, those of ``options`` or the defaults; raise :class:`VidaffError` for others."""
        unknown = sorted(set(options) - set(cls.choices))
        if unknown:
            known = ", ".join(("size", "centre_crop", *cls.choices))
            raise VidaffError(f"{name}: still pictures take no option {unknown[0]!r}; known: {known}")
        for key, value in options.items():
            if value not in cls.choices[key]:
                raise VidaffError(f"{name}: {key} is one of {', '.join(cls.choices[key])}, got {value!r}")
        return {key: options.get(key, values[0]) for key, values in cls.choices.items()}

    @property
    def options(self) -> dict[str, str]:
        return dict(self._picked)

    @abstractmethod
    def still(self, index: int) -> Still:
        """Picture ``index`` as recorded; raise :class:`VidaffError` naming the file that cannot be used."""

    def window(self, recorded: Size) -> Window:
        """The part of a recorded grid of (height, width) that is kept, and the size it is brought to."""
        height, width = recorded
        if self.centre_crop is None:
            return Window(0, 0, height, width, self._size or recorded)
        side = min(self.centre_crop, height, width)
        return Window((height - side) // 2, (width - side) // 2, side, side, self._size or (side, side))

    def read(self, index: int, frames: slice | None = None) -> Clip:
        info = self.info(index)
        if frames is not None and not range(1)[frames]:
            raise VidaffError(f"{info.name}: frames {frames} of 1 select nothing")
        still = self.still(index)
        window = self.window((still.rgb.shape[0], still.rgb.shape[1]))
        mask = cv2.LUT(window.nearest(still.labels), self._ids)
        affordances = cv2.LUT(mask, self._bits) if still.affordances is None else window.nearest(still.affordances)
        return Clip(
            rgb=window.colours(still.rgb)[None],  # (1, H, W, 3)
            depth=None if still.depth is None else window.nearest(still.depth)[None],  # (1, H, W)
            flow=None,
            mask=mask,
            affordances=affordances,
            intrinsics=None if still.camera is None else window.intrinsics(still.camera),
            fps=FPS,
            **vars(info),
        )

    def length(self, index: int) -> int:
        """Number of frames of a picture: 1."""
        self._check_index(index)
        return 1
