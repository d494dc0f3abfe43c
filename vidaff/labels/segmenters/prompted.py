"""SAM in any of its forms: one embedding a picture, then masks of boxes, or of everything.

The networks differ (:mod:`vidaff.labels.segmenters.networks`); resizing, batches, and the way back to the picture's
pixels are here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vidaff.labels.loading import LastPicture, check_picture, uses_bf16, weights_identity
from vidaff.labels.settings import RegionSettings, SegmenterSettings

MAX_VALUES = 2**25
"""Mask values of a batch, in the picture's pixels; 128 MiB, so that a large picture takes fewer prompts at once."""
MULTIMASK = 3
"""Masks of a point: whole, part and part of a part."""


class SamNetwork(Protocol):
    """What a form of SAM computes.

    ``side`` of its square input; ``squeeze``: pictures are squeezed into the square, else scaled and padded; ``mean``
    and ``std`` of a channel, 0..255.
    """

    side: int
    squeeze: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    net: torch.nn.Module

    def embed(self, pixels: torch.Tensor) -> Any:
        """Features of ``pixels`` (1, 3, side, side), normalised and padded with zeros."""
        ...

    def masks_of_boxes(self, features: Any, boxes: torch.Tensor) -> torch.Tensor:
        """Logits (n, h, w) of boxes (n, 4) in pixels of the input."""
        ...

    def masks_of_points(self, features: Any, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (n, 3, h, w) and expected quality (n, 3) of points (n, 2) in pixels of the input."""
        ...


class PromptedSam:
    """Segments boxes, and proposes regions.

    Args:
        name: of the kind.
        network: a form of SAM, on its device.
        settings: precision, batches, regions.
    """

    def __init__(self, name: str, network: SamNetwork, settings: SegmenterSettings) -> None:
        self.name, self.network, self.settings = name, network, settings
        self.device = next(network.net.parameters()).device
        self.bf16 = uses_bf16(self.device, settings.precision)
        self._features: LastPicture[Any] = LastPicture()
        self._identity = weights_identity(network.net.state_dict(), settings)

    @torch.inference_mode()
    def segment(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Masks (N, H, W) bool of ``boxes`` (N, 4), left, top, right, bottom in pixels, in ``image`` (H, W, 3) uint8.

        Raises:
            ValueError: a picture or boxes of another type.
        """
        check_picture(image)
        boxes = np.asarray(boxes, np.float64)
        if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all()):
            raise ValueError(f"boxes must be (N, 4) finite numbers, got {boxes.shape}")
        result = np.zeros((len(boxes), *image.shape[:2]), bool)
        if not len(boxes):
            return result
        features = self.features(image)
        prompts = torch.from_numpy(boxes.reshape(-1, 2) * self.scale(image.shape)).reshape(-1, 4).to(self.device)
        step = self._batch(image.shape, 1)
        for start in range(0, len(boxes), step):
            logits = self.network.masks_of_boxes(features, prompts[start : start + step])
            result[start : start + step] = (self.upscale(logits[:, None], image.shape)[:, 0] > 0).cpu().numpy()
        return result

    @torch.inference_mode()
    def generate(self, image: np.ndarray) -> np.ndarray:
        """Masks (K, H, W) bool of what lies under a grid of points in ``image`` (H, W, 3) uint8 RGB.

        The rules, and their order, are those of segment-anything's automatic mask generator.
        """
        check_picture(image)
        generator = _generator(self, self.settings.regions, self._batch(image.shape, MULTIMASK))
        masks = [record["segmentation"] for record in generator.generate(image)]
        return np.stack(masks).astype(bool) if masks else np.zeros((0, *image.shape[:2]), bool)

    def features(self, image: np.ndarray) -> Any:
        """The network's features of a picture; those of the last one are kept."""
        return self._features.get(image, self._embed)

    def scale(self, shape: tuple[int, ...]) -> np.ndarray:
        """Pixels of the network's input for one of the picture: (x, y)."""
        height, width = shape[:2]
        rows, columns = self._input_shape(height, width)
        return np.array([columns / width, rows / height])

    def upscale(self, logits: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Logits (n, m, h, w) of the network's input to (n, m, H, W) of the picture."""
        height, width = shape[:2]
        if not self.network.squeeze:
            rows, columns = self._input_shape(height, width)
            logits = F.interpolate(logits.float(), (self.network.side,) * 2, mode="bilinear")[..., :rows, :columns]
        return F.interpolate(logits.float(), (height, width), mode="bilinear")

    def fingerprint(self) -> str:
        """Hash of weights and settings, and the precision."""
        return f"{self.name}-{self._identity}-{'bf16' if self.bf16 else 'fp32'}"

    @torch.inference_mode()
    def _embed(self, image: np.ndarray) -> Any:
        network = self.network
        rows, columns = self._input_shape(*image.shape[:2])
        resized = np.array(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(resized).permute(2, 0, 1).to(self.device).float()
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (network.mean, network.std))
        padded = F.pad((pixels - mean) / std, (0, network.side - columns, 0, network.side - rows))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            features = network.embed(padded[None])
        return [level.float() for level in features] if isinstance(features, list) else features.float()

    def _input_shape(self, height: int, width: int) -> tuple[int, int]:
        side = self.network.side
        if self.network.squeeze:
            return side, side
        scale = side / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def _batch(self, shape: tuple[int, ...], masks: int) -> int:
        return max(1, min(self.settings.batch, MAX_VALUES // (masks * shape[0] * shape[1])))


class _Predictor:
    """What segment-anything's mask generator asks of its own predictor, answered by any form of SAM."""

    def __init__(self, sam: PromptedSam) -> None:
        self.sam, self.device = sam, sam.device
        self.model = SimpleNamespace(mask_threshold=0.0)
        self.transform = self
        self._shape: tuple[int, ...] = (0, 0)
        self._features: Any = None

    def set_image(self, image: np.ndarray) -> None:
        self._features, self._shape = self.sam.features(image), image.shape

    def reset_image(self) -> None:
        self._features = None

    def apply_coords(self, points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return points * self.sam.scale(shape)

    def predict_torch(self, points: torch.Tensor, labels: torch.Tensor, **_: bool) -> tuple[torch.Tensor, ...]:
        """Points (n, 1, 2) -> logits (n, 3, H, W), quality (n, 3), and the coarse logits."""
        coarse, quality = self.sam.network.masks_of_points(self._features, points[:, 0])
        return self.sam.upscale(coarse, self._shape), quality, coarse


def _generator(sam: PromptedSam, settings: RegionSettings, batch: int) -> Any:
    from segment_anything import SamAutomaticMaskGenerator

    # The generator reads the side of the input off the model, for a predictor that is replaced at once.
    model = SimpleNamespace(image_encoder=SimpleNamespace(img_size=sam.network.side))
    generator = SamAutomaticMaskGenerator(
        model,
        points_per_side=settings.points_per_side,
        points_per_batch=batch,
        pred_iou_thresh=settings.quality,
        stability_score_thresh=settings.stability,
        box_nms_thresh=settings.nms,
        min_mask_region_area=settings.min_area,
    )
    generator.predictor = _Predictor(sam)
    return generator
