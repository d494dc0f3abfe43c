"""A model of still pictures behind the interface by which :mod:`vidaff.evaluate` runs a network on clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from vidaff.config import MAX_SIDE
from vidaff.datasets.base import Clip, ClipDataset
from vidaff.datasets.geometry import Size, Window
from vidaff.datasets.prepared import PreparedClips
from vidaff.errors import VidaffError
from vidaff.models.video.inputs import InputCoder
from vidaff.training.stills import view_of
from vidaff.weights import Checkpoint


class PictureRunner:
    """Labels of still pictures at their own size. The network sees them at the scale it was trained on.

    ``clips`` are what will be shown; raises :class:`VidaffError` when their scale cannot be that of the training.
    """

    static = True

    def __init__(self, checkpoint: Checkpoint, clips: ClipDataset, *, device: str = "auto") -> None:
        from vidaff.predict import pick_device

        recipe = checkpoint.recipe
        self.device = pick_device(device)
        self.model = checkpoint.model.to(self.device).eval()
        self.coder = InputCoder(recipe.input, recipe.model).to(self.device)
        self._input_size = input_sizes(recipe.input.size, checkpoint.info.get("view"), clips)

    def flow(self, clip: Clip, stored_method: str | None) -> np.ndarray | None:
        """Pictures do not move."""
        return None

    @torch.inference_mode()
    def run(self, clips: list[Clip], flows: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of one shape -> labels (B, H, W) uint8 at that size, and -1 for every action (B,)."""
        height, width = clips[0].rgb.shape[1:3]
        window = Window(0, 0, height, width, self._input_size((height, width)))
        rgb = self._stack([window.colours(clip.rgb[-1]) for clip in clips])
        # Torch does next to nothing with uint16.
        depths = [window.nearest(clip.depth[-1]).astype(np.int32) for clip in clips if clip.depth is not None]
        rgbd, flow = self.coder(rgb, self._stack(depths) if depths else None, None, size=window.size)
        logits = self.model(rgbd, flow).logits  # (B, K + 1, h, w)
        if tuple(logits.shape[-2:]) != (height, width):
            logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8).cpu().numpy(), np.full(len(clips), -1)

    def _stack(self, pictures: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(pictures)[:, None]).to(self.device)  # (B, 1, h, w[, 3])


def input_sizes(trained: Size, view: dict[str, int | None] | None, clips: ClipDataset) -> Callable[[Size], Size]:
    """The network's input (height, width) for a picture of (height, width), by the scale of the training.

    ``trained``: input size in training. ``view``: what of a recorded picture was seen then, as
    :func:`vidaff.training.stills.view_of` says; None stands for the whole. Raises :class:`VidaffError` when one of both
    is a crop and the recorded size of the other is not known.
    """
    then, now = (view or {}).get("centre_crop"), view_of(clips)["centre_crop"]
    if then == now:
        return lambda size: trained
    if then is None or (now is None and isinstance(clips, PreparedClips)):
        seen = "whole pictures" if then is None else f"centre squares of {then} pixels"
        held = "whole pictures" if now is None else f"centre squares of {now} pixels"
        raise VidaffError(
            f"the model was trained on {seen}, the prepared file holds {held}: prepare it with the same --centre-crop, "
            "or score the model on the folder"
        )
    if now is not None:
        return lambda size: _scaled((now, now), trained, then)
    return lambda size: _scaled(size, trained, then)


def _scaled(size: Size, trained: Size, crop: int) -> Size:
    """``size`` in recorded pixels, as the network sees it whose ``crop`` recorded pixels became ``trained``."""
    height, width = (
        min(max(8, round(side * inner / crop)), MAX_SIDE) for side, inner in zip(size, trained, strict=True)
    )
    return height, width
