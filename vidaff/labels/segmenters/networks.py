"""The forms of SAM, each behind the same three questions (:class:`..prompted.SamNetwork`)."""

from __future__ import annotations

from typing import Any

import torch

from vidaff.labels.loading import check_kind, required
from vidaff.labels.segmenters.checkpoint import read_sam
from vidaff.models.image.pretrained import load_weights

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (123.675, 116.28, 103.53)
IMAGENET_STD: Channels = (58.395, 57.12, 57.375)
HALF: Channels = (127.5, 127.5, 127.5)
"""Mean and deviation of SAM 3, which are the same."""


class SegmentAnything:
    """The network of the package segment-anything, with the authors' checkpoint.

    Source: Kirillov et al., "Segment Anything", ICCV 2023.
    """

    squeeze = False
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, net: Any) -> None:
        self.net: Any = net.eval()
        self.side = int(self.net.image_encoder.img_size)

    @classmethod
    def load(cls, source: str | None, device: torch.device) -> SegmentAnything:
        return cls(read_sam(required(source, "weights of SAM (sam_vit_h_4b8939.pth or another)")).to(device))

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.net.image_encoder(pixels)
        return features

    def masks_of_boxes(self, features: Any, boxes: torch.Tensor) -> torch.Tensor:
        return self._decode(features, None, boxes, multimask=False)[0][:, 0]

    def masks_of_points(self, features: Any, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
        return self._decode(features, (points[:, None], labels), None, multimask=True)

    def _decode(self, features: Any, points: Any, boxes: Any, *, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.net.prompt_encoder
        sparse, dense = encoder(points=points, boxes=boxes, masks=None)
        masks, quality = self.net.mask_decoder(
            image_embeddings=features,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return masks, quality


class TransformersSam:
    """SAM, SAM 2 and the tracker of SAM 3 through transformers, which answer alike.

    Args:
        net: ``SamModel``, ``Sam2Model`` or ``Sam3TrackerModel``.
        side: of its input.
        squeeze: whether pictures are squeezed into a square, as SAM 2 and SAM 3 want them.
        mean: of the channels, 0..255.
        std: of the channels, 0..255.
    """

    def __init__(self, net: Any, *, side: int, squeeze: bool, mean: Channels, std: Channels) -> None:
        self.net: Any = net.eval()
        self.side, self.squeeze, self.mean, self.std = side, squeeze, mean, std

    @classmethod
    def load(cls, kind: str, source: str | None, device: torch.device) -> TransformersSam:
        """Of the kind ``sam-hf``, ``sam2`` or ``sam3``; raise :class:`VidaffError` for another model."""
        import transformers

        what, name, kinds = {
            "sam-hf": ("SAM", "SamModel", ("sam",)),
            "sam2": ("SAM 2", "Sam2Model", ("sam2", "sam2_video")),
            "sam3": ("SAM 3", "Sam3TrackerModel", ("sam3_tracker", "sam3_tracker_video", "sam3_video")),
        }[kind]
        source = required(source, f"weights of {what} (a folder or hub id)")
        check_kind(source, kinds, what)
        net = load_weights(getattr(transformers, name), source, what).to(device)
        mean, std = (HALF, HALF) if kind == "sam3" else (IMAGENET_MEAN, IMAGENET_STD)
        side = int(net.config.prompt_encoder_config.image_size)
        return cls(net, side=side, squeeze=kind != "sam-hf", mean=mean, std=std)

    def embed(self, pixels: torch.Tensor) -> Any:
        return self.net.get_image_embeddings(pixels)

    def masks_of_boxes(self, features: Any, boxes: torch.Tensor) -> torch.Tensor:
        masks: torch.Tensor = self._decode(features, input_boxes=boxes.float()[None], multimask_output=False).pred_masks
        return masks[0, :, 0]

    def masks_of_points(self, features: Any, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self._decode(features, input_points=points.float()[None, :, None], multimask_output=True)
        return output.pred_masks[0], output.iou_scores[0]

    def _decode(self, features: Any, **prompts: Any) -> Any:
        return self.net(image_embeddings=features, **prompts)
