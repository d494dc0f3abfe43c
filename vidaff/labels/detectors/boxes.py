"""From what a network says of every box and query to :class:`Detections`."""

from __future__ import annotations

import numpy as np
import torch

from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import Detections


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """(n, 4) middle x, middle y, width, height -> left, top, right, bottom."""
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([middle - half, middle + half], 1)


def best_boxes(
    boxes: torch.Tensor, scores: torch.Tensor, shape: tuple[int, ...], settings: DetectorSettings
) -> tuple[Detections, np.ndarray]:
    """The boxes to keep, and which rows of ``boxes`` they were.

    Args:
        boxes: (n, 4) left, top, right, bottom in pixels of the picture; they are clipped to it.
        scores: (n, q) of every box for every query.
        shape: the picture's height and width.
        settings: lowest score, overlap, count.
    """
    from torchvision.ops import batched_nms

    height, width = shape[:2]
    boxes = torch.minimum(boxes.float().clamp(min=0), boxes.new_tensor([width, height, width, height]).float())
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    rows, queries = torch.nonzero(solid[:, None] & (scores > settings.score), as_tuple=True)
    found = scores[rows, queries].float()
    if settings.nms < 1:
        kept = batched_nms(boxes[rows], found, queries, settings.nms)
    else:
        kept = found.argsort(descending=True, stable=True)
    kept = kept[: settings.detections]
    rows, queries, found = rows[kept], queries[kept], found[kept]
    result = Detections(boxes[rows].cpu().numpy(), found.cpu().numpy(), queries.cpu().numpy().astype(np.int64))
    return result, rows.cpu().numpy()


def prompts(queries: list[str], template: str) -> list[str]:
    """What the text tower reads: readable lower-case queries in the template; raise :class:`ValueError` for none."""
    from vidaff.models.image.text import readable

    if not queries:
        raise ValueError("no query was given")
    return [template.replace("{}", readable(query).lower()) for query in queries]
