"""The heads of AffordanceNet: object class and box as in Faster R-CNN, and the affordance branch.

One worked example, the paper's sizes with K affordances; N regions, M of them positive::

    backbone map            (B, 512, 19, 19)
    box branch              (N, 512, 7, 7) -> fc 4096 -> fc 4096 -> (N, objects + 1), (N, 4 * (objects + 1))
    affordance branch       (M, 512, 7, 7) -> 30x30 -> 122x122 -> 244x244 -> (M, K + 1, 244, 244)

Source: Do, Nguyen, Reid, "AffordanceNet: An End-to-End Deep Learning Approach for Object Affordance Detection",
ICRA 2018, and the authors' release.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

Detection = dict[str, torch.Tensor]

DECONVOLUTIONS = {
    244: ((8, 4, 1), (8, 4, 1), (4, 2, 1)),
    56: ((4, 2, 1), (4, 2, 1), (4, 2, 1)),
    28: ((4, 2, 1), (4, 2, 1)),
}
"""Side of the mask -> (kernel, stride, padding) of each deconvolution, from 7x7. The paper's: 7, 30, 122, 244."""


class AffordanceHead(nn.Sequential):
    """Region features (N, C, 7, 7) to logits (N, K + 1, S, S); class K is the background.

    Two CONV+ReLU before each deconvolution, then a 1x1 CONV. A deconvolution brings ``channels`` to half as many, each
    by a kernel of its own that starts as bilinear interpolation, as in the authors' release.
    Deviation: He weights instead of Gaussian ones of 0.01, which fade over six layers that are trained from scratch.
    """

    def __init__(self, in_channels: int, *, channels: int, num_affordances: int, mask_size: int) -> None:
        layers: list[nn.Module] = []
        for kernel, stride, padding in DECONVOLUTIONS[mask_size]:
            layers += [_conv(in_channels, channels, 1 if not layers else 3), nn.ReLU()]
            layers += [_conv(channels, channels, 3), nn.ReLU()]
            in_channels = channels // 2
            layers.append(_bilinear(channels, in_channels, kernel, stride, padding))
        predict = nn.Conv2d(in_channels, num_affordances + 1, 1)
        nn.init.normal_(predict.weight, std=0.01)
        nn.init.zeros_(predict.bias)  # type: ignore[arg-type]  # it has one
        super().__init__(*layers, predict)


def _conv(before: int, after: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
    return conv


def _bilinear(before: int, after: int, kernel: int, stride: int, padding: int) -> nn.ConvTranspose2d:
    """Deconvolution in ``after`` groups whose kernels are the bilinear filter, averaged over each group's channels."""
    deconv = nn.ConvTranspose2d(before, after, kernel, stride=stride, padding=padding, groups=after)
    ramp = 1 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / (kernel / 2)
    with torch.no_grad():
        deconv.weight.copy_((ramp[:, None] * ramp * after / before).expand_as(deconv.weight))
    nn.init.zeros_(deconv.bias)  # type: ignore[arg-type]  # it has one
    return deconv


class AffordanceRoIHeads(RoIHeads):
    """torchvision's box branch with the affordance branch in place of the binary masks.

    In training :meth:`forward` returns the losses ``classifier``, ``box`` and ``affordance``; else detections with
    ``boxes`` (N, 4) xyxy pixels of the input, ``labels`` (N,) from 1, ``scores`` (N,) and ``affordances``
    (N, K + 1, S, S) probabilities.

    Args:
        box_roi_pool: cuts 7x7 regions for the box branch.
        box_head: region to vector.
        box_predictor: vector to class logits and boxes.
        affordance_pool: cuts 7x7 regions for the affordance branch.
        affordance_head: see :class:`AffordanceHead`.
        rois: regions per picture that train the heads.
        confidence: least score of a detection. Where none reaches it the best one counts (paper, section IV).
    """

    def __init__(
        self,
        *,
        box_roi_pool: MultiScaleRoIAlign,
        box_head: nn.Module,
        box_predictor: nn.Module,
        affordance_pool: MultiScaleRoIAlign,
        affordance_head: nn.Module,
        rois: int,
        confidence: float,
    ) -> None:
        super().__init__(
            box_roi_pool, box_head, box_predictor, fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=rois,
            positive_fraction=0.25, bbox_reg_weights=None, score_thresh=0.0, nms_thresh=0.3, detections_per_img=100,
        )  # fmt: skip
        self.affordance_pool = affordance_pool
        self.affordance_head = affordance_head
        self.confidence = confidence

    def forward(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, torch.Tensor]] | None = None,
    ) -> tuple[list[Detection], dict[str, torch.Tensor]]:
        """Losses of the sampled regions, or detections; ``targets`` as :class:`AffordanceNet` takes them."""
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        return self._detections(features, proposals, image_shapes), {}

    def _losses(
        self, features: Any, proposals: list[torch.Tensor], image_shapes: list[tuple[int, int]], targets: Any
    ) -> dict[str, torch.Tensor]:
        proposals, matched, labels, regression = self.select_training_samples(proposals, targets)
        logits, deltas = self._boxes(features, proposals, image_shapes)
        classifier, box = fastrcnn_loss(logits, deltas, labels, regression)
        positive = [label > 0 for label in labels]
        regions = [boxes[chosen] for boxes, chosen in zip(proposals, positive, strict=True)]
        objects = [index[chosen] for index, chosen in zip(matched, positive, strict=True)]
        masks = self.affordance_head(self.affordance_pool(features, regions, image_shapes))  # (M, K + 1, S, S)
        allowed = [
            crop_allowed(target, boxes, index, shape, masks.shape[-1], masks.shape[1] - 1)
            for target, boxes, index, shape in zip(targets, regions, objects, image_shapes, strict=True)
        ]
        return {"classifier": classifier, "box": box, "affordance": affordance_loss(masks, torch.cat(allowed))}

    def _boxes(
        self, features: Any, proposals: list[torch.Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, deltas = self.box_predictor(vectors)
        return logits.float(), deltas.float()

    def _detections(
        self, features: Any, proposals: list[torch.Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[Detection]:
        logits, deltas = self._boxes(features, proposals, image_shapes)
        found = self.postprocess_detections(logits, deltas, proposals, image_shapes)
        detections = [
            _confident(boxes, scores, labels, self.confidence)
            for boxes, scores, labels in zip(*found, strict=True)
        ]  # fmt: skip
        regions = [detection["boxes"] for detection in detections]
        masks = self.affordance_head(self.affordance_pool(features, regions, image_shapes))
        probs = F.softmax(masks.float(), dim=1).split([len(boxes) for boxes in regions])
        for detection, part in zip(detections, probs, strict=True):
            detection["affordances"] = part
        return detections


def _confident(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, least: float) -> Detection:
    """The detections of at least that score; the best one where there is none. They come sorted by score."""
    count = max(int((scores >= least).sum()), 1)
    return {"boxes": boxes[:count], "scores": scores[:count], "labels": labels[:count]}


def crop_allowed(
    target: dict[str, torch.Tensor],
    boxes: torch.Tensor,
    objects: torch.Tensor,
    shape: tuple[int, int],
    size: int,
    background: int,
) -> torch.Tensor:
    """Labels inside of regions: (N, S, S) integer bit masks of the classes that are right, 0 where none is judged.

    Pixels of another object than the region's are background. Labels are taken from the nearest pixel.
    Deviation: the paper resizes label maps by interpolation and several thresholds, to the same end that no label
    comes up that was not there.

    Args:
        target: ``allowed`` (H, W) bit masks and ``instances`` (H, W) number of the object that a pixel belongs to.
        boxes: (N, 4) xyxy in pixels of the input.
        objects: (N,) number of the object that each region shows.
        shape: height and width of the input, whatever the grid of the labels.
        size: side S.
        background: number of the background's bit.
    """
    height, width = target["allowed"].shape
    steps = (torch.arange(size, device=boxes.device) + 0.5) / size
    rows = _pixels(boxes[:, 1], boxes[:, 3], steps, height / shape[0], height)[:, :, None]  # (N, S, 1)
    columns = _pixels(boxes[:, 0], boxes[:, 2], steps, width / shape[1], width)[:, None]  # (N, 1, S)
    allowed, instances = target["allowed"][rows, columns], target["instances"][rows, columns]  # (N, S, S)
    foreign = (instances >= 0) & (instances != objects[:, None, None])
    return torch.where(foreign, 1 << background, allowed)


def _pixels(low: torch.Tensor, high: torch.Tensor, steps: torch.Tensor, scale: float, size: int) -> torch.Tensor:
    """Pixel under each of ``steps`` (shares of the way from ``low`` to ``high``): (N, S) int64."""
    places = low[:, None] + (high - low)[:, None] * steps  # (N, S)
    return (places * scale).floor().long().clamp(0, size - 1)


def affordance_loss(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of the classes that are right, mean over all judged pixels of all regions.

    With one right class a pixel this is the softmax loss of the paper (section III-C).

    Args:
        logits: (N, K + 1, S, S).
        allowed: (N, S, S) integer bit masks, 0 = not judged.
    """
    judged = allowed != 0
    if not judged.any():
        return logits.sum() * 0
    bits = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    wrong = ((allowed.unsqueeze(1) >> bits) & 1) == 0  # (N, K + 1, S, S)
    log_probs = F.log_softmax(logits.float(), dim=1).masked_fill(wrong & judged.unsqueeze(1), float("-inf"))
    return -torch.logsumexp(log_probs, dim=1)[judged].mean()
