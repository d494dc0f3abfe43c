"""SAM 3: words to boxes and masks in one model, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vidaff.labels.detectors.boxes import best_boxes, prompts
from vidaff.labels.loading import (
    LastPicture,
    check_kind,
    check_picture,
    required,
    uses_bf16,
    weights_identity,
)
from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import Detections
from vidaff.models.image.pretrained import load_pretrained, load_weights

KINDS = ("sam3", "sam3_video")
TEMPLATE = "{}"
TOKENS = 32
SAME_BOX = 0.01
"""Pixels that a box may have moved, by rounding, and still be the one that was detected."""


class _Seen(NamedTuple):
    """Features of a picture, and the boxes and coarse masks found in it so far."""

    features: Any
    boxes: list[np.ndarray]
    masks: list[torch.Tensor]


class Sam3:
    """A part detector that is also the segmenter of the boxes it finds.

    :meth:`detect` keeps the masks of the last picture; :meth:`segment` gives those of the boxes asked for. The picture
    is encoded once, however many questions follow.

    Source: Carion et al., "SAM 3: Segment Anything with Concepts", 2025, section 2.

    Args:
        model: ``Sam3Model``.
        tokenizer: of the model.
        settings: score, overlap, count, template, precision of the image encoder.
    """

    name = "sam3"

    def __init__(self, model: Any, tokenizer: Any, settings: DetectorSettings) -> None:
        self.model, self.tokenizer, self.settings = model.eval(), tokenizer, settings
        self.bf16 = uses_bf16(model.device, settings.precision)
        self.side = int(model.config.vision_config.image_size)
        self._seen: LastPicture[_Seen] = LastPicture()
        self._texts: dict[str, tuple[Any, torch.Tensor]] = {}
        self._identity = weights_identity(model.state_dict(), settings)

    @classmethod
    def load(cls, settings: DetectorSettings, device: torch.device) -> Sam3:
        """From the folder or hub id in ``settings.weights``; raise :class:`VidaffError` for another kind of model."""
        from transformers import AutoTokenizer, Sam3Model

        source = required(settings.weights, "weights of SAM 3 (a folder or hub id)")
        check_kind(source, KINDS, "SAM 3")
        model = load_weights(Sam3Model, source, "SAM 3").to(device)
        return cls(model, load_pretrained(AutoTokenizer.from_pretrained, source, "SAM 3's tokenizer"), settings)

    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """Boxes of ``queries`` in ``image`` (H, W, 3) uint8 RGB; their masks are kept until the next picture."""
        return self._find(image, queries)[0]

    def segment_text(self, image: np.ndarray, queries: Sequence[str]) -> tuple[Detections, np.ndarray]:
        """Boxes of ``queries``, and their masks (N, H, W) bool."""
        found, coarse = self._find(image, queries)
        return found, self._masks(coarse, image.shape)

    def segment(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Masks (N, H, W) bool of boxes (N, 4) that :meth:`detect` gave for this picture.

        Raises:
            ValueError: a box that it did not give, or another picture than the last one.
        """
        check_picture(image)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if not len(boxes):
            return np.zeros((0, *image.shape[:2]), bool)
        if not self._seen.knows(image):
            raise ValueError("SAM 3 segments what it detected in the last picture; call detect() with this one first")
        seen = self._seen.get(image, self._encode)
        known = np.concatenate([*seen.boxes, np.zeros((0, 4), np.float32)])
        if not len(known):
            raise ValueError("SAM 3 detected nothing in this picture, so that it can segment no box")
        distance = np.abs(boxes[:, None] - known[None]).max(2)
        rows = distance.argmin(1)
        if distance[np.arange(len(boxes)), rows].max() > SAME_BOX:
            raise ValueError("SAM 3 segments only boxes that it detected; for others load it as a segmenter alone")
        return self._masks(torch.cat(seen.masks)[torch.from_numpy(rows)], image.shape)

    @torch.inference_mode()
    def _find(self, image: np.ndarray, queries: Sequence[str]) -> tuple[Detections, torch.Tensor]:
        """Detections, and their coarse masks (N, h, w) 0..1."""
        check_picture(image)
        phrases = prompts(list(queries), self.settings.template or TEMPLATE)
        seen = self._seen.get(image, self._encode)
        answers = [self._ask(seen.features, phrase) for phrase in phrases]
        height, width = image.shape[:2]
        boxes = torch.cat([boxes for boxes, _, _ in answers])
        scores = torch.block_diag(*(scores[:, None] for _, scores, _ in answers))
        pixel_boxes = boxes * boxes.new_tensor([width, height, width, height])
        found, rows = best_boxes(pixel_boxes, scores, image.shape, self.settings)
        masks = torch.cat([masks for _, _, masks in answers])[torch.from_numpy(rows).to(boxes.device)]
        seen.boxes.append(found.boxes)
        seen.masks.append(masks)
        return found, masks

    def _ask(self, features: Any, phrase: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Relative corners (n, 4), scores (n,) and masks (n, h, w) 0..1 of one phrase."""
        text, mask = self._text(phrase)
        output = self.model(vision_embeds=features, text_embeds=text, attention_mask=mask)
        scores = output.pred_logits[0].sigmoid()
        if output.presence_logits is not None:
            scores = scores * output.presence_logits[0].sigmoid()
        return output.pred_boxes[0], scores, output.pred_masks[0].sigmoid()

    def _text(self, phrase: str) -> tuple[Any, torch.Tensor]:
        if phrase not in self._texts:
            tokens = self.tokenizer(
                phrase, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
            ).to(self.model.device)
            features = self.model.get_text_features(tokens["input_ids"], tokens["attention_mask"], return_dict=True)
            self._texts[phrase] = features, tokens["attention_mask"]
        return self._texts[phrase]

    @torch.inference_mode()
    def _encode(self, image: np.ndarray) -> _Seen:
        resized = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].to(self.model.device).float() / 127.5 - 1
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.get_vision_features(pixels)
        features.fpn_hidden_states = tuple(level.float() for level in features.fpn_hidden_states)
        return _Seen(features, [], [])

    @torch.inference_mode()
    def _masks(self, coarse: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
        if not len(coarse):
            return np.zeros((0, *shape[:2]), bool)
        # One by one: all at once would take four bytes a pixel and mask.
        fine = [F.interpolate(mask[None, None], shape[:2], mode="bilinear")[0, 0] > 0.5 for mask in coarse]
        return torch.stack(fine).cpu().numpy()

    def fingerprint(self) -> str:
        """Hash of weights and settings, and the precision."""
        return f"{self.name}-{self._identity}-{'bf16' if self.bf16 else 'fp32'}"
