"""Grounding DINO (and MM Grounding DINO) as a part detector, through transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from vidaff.errors import VidaffError
from vidaff.labels.detectors.boxes import best_boxes, corners, prompts
from vidaff.labels.loading import check_kind, check_picture, required, weights_identity
from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import Detections
from vidaff.models.image.pretrained import load_pretrained, load_weights

KINDS = ("grounding-dino", "mm-grounding-dino")
TEMPLATE = "{}"
Span = slice


class GroundingDino:
    """Asks for several queries in one caption, ``knife blade. cup handle.``, and knows whose tokens are whose.

    A box's score for a query is the best one among the query's tokens. transformers' own post-processing gives words
    that may run over the borders of queries.

    Source: Liu et al., "Grounding DINO", ECCV 2024, section 3.4 (sub-sentence level text features).

    Args:
        model: ``GroundingDinoForObjectDetection`` or ``MMGroundingDinoForObjectDetection``.
        processor: of the model.
        settings: score, overlap, count, template.
    """

    name = "grounding-dino"

    def __init__(self, model: Any, processor: Any, settings: DetectorSettings) -> None:
        self.model, self.settings = model.eval(), settings
        self.pictures, self.tokenizer = processor.image_processor, processor.tokenizer
        self._identity = weights_identity(model.state_dict(), settings)

    @classmethod
    def load(cls, settings: DetectorSettings, device: torch.device) -> GroundingDino:
        """From the folder or hub id in ``settings.weights``; raise :class:`VidaffError` for another kind of model."""
        import transformers

        what = "Grounding DINO"
        source = required(settings.weights, f"weights of {what} (a folder or hub id)")
        kind = check_kind(source, KINDS, what).model_type
        model_class = "GroundingDino" if kind == KINDS[0] else "MMGroundingDino"
        model = load_weights(getattr(transformers, f"{model_class}ForObjectDetection"), source, what)
        processor = load_pretrained(transformers.GroundingDinoProcessor.from_pretrained, source, f"{what}'s processor")
        if len(processor.tokenizer) > model.config.text_config.vocab_size:
            raise VidaffError(f"{what} {source!r}: its tokenizer is of another model, it has more tokens")
        return cls(model.to(device), processor, settings)

    @torch.inference_mode()
    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """Boxes of ``queries`` in ``image`` (H, W, 3) uint8 RGB; raise :class:`ValueError` for one too long."""
        check_picture(image)
        pixels = self.pictures(images=image, input_data_format="channels_last", return_tensors="pt").to(
            self.model.device
        )
        found = [self._ask(pixels, *caption) for caption in self.captions(queries)]
        # Boxes differ from caption to caption, so every caption has rows of its own and the others' queries score 0.
        boxes = torch.cat([corners for corners, _ in found])
        scores = torch.block_diag(*(scores for _, scores in found))
        height, width = image.shape[:2]
        pixel_boxes = boxes * boxes.new_tensor([width, height, width, height])
        return best_boxes(pixel_boxes, scores, image.shape, self.settings)[0]

    def captions(self, queries: Sequence[str]) -> Iterator[tuple[list[int], list[Span]]]:
        """Token ids, and the tokens of every query, of as few captions as hold all ``queries`` in their order."""
        tokenizer, limit = self.tokenizer, int(self.model.config.max_text_len)
        stop = tokenizer.convert_tokens_to_ids(".")
        ids: list[int] = [tokenizer.cls_token_id]
        spans: list[Span] = []
        for phrase in prompts(list(queries), self.settings.template or TEMPLATE):
            # A dot or question mark inside would end the query early.
            words = tokenizer(phrase.replace(".", " ").replace("?", " "), add_special_tokens=False)["input_ids"]
            if len(words) + 3 > limit:
                raise ValueError(f"query {phrase!r}: {len(words)} tokens, at most {limit - 3} can be asked for")
            if len(ids) + len(words) + 2 > limit:
                yield [*ids, tokenizer.sep_token_id], spans
                ids, spans = [tokenizer.cls_token_id], []
            spans.append(slice(len(ids), len(ids) + len(words)))
            ids += [*words, stop]
        yield [*ids, tokenizer.sep_token_id], spans

    def _ask(self, pixels: Any, ids: list[int], spans: list[Span]) -> tuple[torch.Tensor, torch.Tensor]:
        """Relative corners (n, 4), and scores (n, queries of the caption)."""
        tokens = torch.tensor([ids], device=self.model.device)
        output = self.model(
            **pixels, input_ids=tokens, token_type_ids=torch.zeros_like(tokens), attention_mask=torch.ones_like(tokens)
        )
        scores = output.logits[0].sigmoid()
        return corners(output.pred_boxes[0]), torch.stack([scores[:, span].amax(1) for span in spans], 1)

    def fingerprint(self) -> str:
        """Hash of weights and settings."""
        return f"{self.name}-{self._identity}"
