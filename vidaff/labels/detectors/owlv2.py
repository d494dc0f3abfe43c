"""OWLv2 (and OWL-ViT) as a part detector, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vidaff.labels.detectors.boxes import best_boxes, corners, prompts
from vidaff.labels.loading import check_kind, check_picture, required, weights_identity
from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import Detections
from vidaff.models.image.pretrained import load_pretrained, load_weights

KINDS = ("owlv2", "owlvit")
TEMPLATE = "a photo of a {}"


class OwlV2:
    """One score for every patch's box and every query.

    Source: Minderer et al., "Scaling Open-Vocabulary Object Detection", NeurIPS 2023.

    Args:
        model: ``Owlv2ForObjectDetection`` or ``OwlViTForObjectDetection``.
        processor: of the model.
        settings: score, overlap, count, template.
    """

    name = "owlv2"

    def __init__(self, model: Any, processor: Any, settings: DetectorSettings) -> None:
        self.model, self.settings = model.eval(), settings
        self.pictures, self.tokenizer = processor.image_processor, processor.tokenizer
        self._identity = weights_identity(model.state_dict(), settings)

    @classmethod
    def load(cls, settings: DetectorSettings, device: torch.device) -> OwlV2:
        """From the folder or hub id in ``settings.weights``; raise :class:`VidaffError` for another kind of model."""
        import transformers

        source = required(settings.weights, "weights of OWLv2 (a folder or hub id)")
        name = "Owlv2" if check_kind(source, KINDS, "OWLv2").model_type == "owlv2" else "OwlViT"
        model = load_weights(getattr(transformers, f"{name}ForObjectDetection"), source, "OWLv2")
        loader = getattr(transformers, f"{name}Processor").from_pretrained
        return cls(model.to(device), load_pretrained(loader, source, "OWLv2's processor"), settings)

    @torch.inference_mode()
    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """Boxes of ``queries`` in ``image`` (H, W, 3) uint8 RGB."""
        check_picture(image)
        texts = self.tokenizer(
            prompts(list(queries), self.settings.template or TEMPLATE),
            padding="max_length",
            truncation=True,
            max_length=int(self.model.config.text_config.max_position_embeddings),
            return_tensors="pt",
        ).to(self.model.device)
        pixels = self.pictures(images=image, input_data_format="channels_last", return_tensors="pt").to(
            self.model.device
        )
        output = self.model(
            pixel_values=pixels["pixel_values"],
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
        )
        boxes = corners(output.pred_boxes[0]) * self._scale(output.pred_boxes, image.shape)
        return best_boxes(boxes, output.logits[0].sigmoid(), image.shape, self.settings)[0]

    def _scale(self, boxes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Pixels of one unit: OWLv2 pads a picture to a square, OWL-ViT squeezes it into one."""
        height, width = shape[:2]
        if self.model.config.model_type == "owlv2":
            height = width = max(height, width)
        return boxes.new_tensor([width, height, width, height])

    def fingerprint(self) -> str:
        """Hash of weights and settings."""
        return f"{self.name}-{self._identity}"
