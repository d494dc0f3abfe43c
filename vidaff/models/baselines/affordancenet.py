"""AffordanceNet: objects and the affordances of their parts in one network, on torchvision's detection parts.

Source: Do, Nguyen, Reid, "AffordanceNet: An End-to-End Deep Learning Approach for Object Affordance Detection",
ICRA 2018, and the authors' release. Thermos et al. (ICASSP 2020, Table 1) compare with it on SOR3D-AFF.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from vidaff.models.baselines.backbones import build_backbone
from vidaff.models.baselines.roi_heads import DECONVOLUTIONS, AffordanceHead, AffordanceRoIHeads, Detection
from vidaff.models.video.inputs import IMAGENET_MEAN, IMAGENET_STD

REGION = 7
"""Side of the regions that both branches see."""
SHAPES = (0.5, 1.0, 2.0)
"""Height to width of the anchors."""


class AffordanceNet(GeneralizedRCNN):
    """Pictures in, losses or detections out.

    In training ``model(images, targets)`` gives the losses ``classifier``, ``box``, ``affordance``, ``loss_objectness``
    and ``loss_rpn_box_reg``. ``images``: (3, H, W) in [0, 1], any size. A target holds ``boxes`` (N, 4) float xyxy
    pixels, ``labels`` (N,) int64 from 1, ``allowed`` (H, W) int64 bit masks of right classes (bit K = background,
    0 = not judged), and ``instances`` (H, W) int64, the number of a pixel's object or -1. In evaluation
    ``model(images)`` gives detections, see :class:`AffordanceRoIHeads`, with boxes in pixels of the picture as given.
    """

    @torch.no_grad()
    def segment(
        self, images: Sequence[torch.Tensor], *, input_size: tuple[int, int] | None = None
    ) -> list[torch.Tensor]:
        """Affordance probabilities (K + 1, H, W) of each picture (3, H, W) in [0, 1]; class K is the background.

        ``input_size``: height and width that the pictures are brought to; None takes those of the training.
        """
        usual = self.transform.fixed_size
        if input_size is not None:
            self.transform.fixed_size = (input_size[1], input_size[0])
        try:
            detections = self(list(images))
        finally:
            self.transform.fixed_size = usual
        return [
            paste(detection, (image.shape[-2], image.shape[-1]))
            for image, detection in zip(images, detections, strict=True)
        ]


def paste(detection: Detection, size: tuple[int, int]) -> torch.Tensor:
    """The soft masks of a picture's detections in one map: probabilities (K + 1, H, W).

    Outside of all boxes a pixel is background for sure. Where boxes overlap, the better scored one has the last word,
    but its background leaves standing what lies under it.
    Deviation: the release pastes hard labels in the order of its detections.
    """
    masks = detection["affordances"].float()
    probs = masks.new_zeros(masks.shape[1], *size)
    probs[-1] = 1
    for index in detection["scores"].argsort().tolist():
        x0, y0, x1, y1 = detection["boxes"][index].tolist()
        rows, columns = _inside(y0, y1, size[0]), _inside(x0, x1, size[1])
        if not len(rows) or not len(columns):
            continue
        y = (torch.tensor(rows, device=masks.device) + 0.5 - y0) / (y1 - y0) * 2 - 1
        x = (torch.tensor(columns, device=masks.device) + 0.5 - x0) / (x1 - x0) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]  # (1, h, w, 2)
        patch = F.grid_sample(masks[index : index + 1], grid, padding_mode="border", align_corners=False)[0]
        under = probs[:, rows.start : rows.stop, columns.start : columns.stop]
        under.copy_(torch.where(patch.argmax(0) < len(patch) - 1, patch, under))
    return probs


def _inside(low: float, high: float, size: int) -> range:
    """Pixels whose centres lie between ``low`` and ``high``."""
    return range(max(0, -int(-(low - 0.5) // 1)), min(size, -int(-(high - 0.5) // 1)))


def build_affordancenet(
    num_objects: int,
    num_affordances: int,
    *,
    input_size: tuple[int, int] = (300, 300),
    backbone: str = "vgg16",
    mask_size: int = 244,
    mask_channels: int = 512,
    box_channels: int = 4096,
    anchors: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
    rois: int = 32,
    proposals_train: int = 2000,
    proposals_test: int = 1000,
    confidence: float = 0.9,
) -> AffordanceNet:
    """Build the network without weights of others; the defaults are the paper's.

    Deviation: anchors are given as shares of the input's shorter side. The release has 32, 64, .. 512 pixels for
    pictures of 600; so have these shares, but for a little rounding, at any size.

    Args:
        num_objects: kinds of objects, the background not counted.
        num_affordances: affordances, the background not counted.
        input_size: height and width to which pictures are brought (paper: shorter side 600; here that of the video
            model it is compared with).
        backbone: ``vgg16`` (paper), ``resnet50`` with a feature pyramid, or ``tiny``.
        mask_size: side of the affordance masks, 28, 56 or 244 (paper).
        mask_channels: channels of the affordance branch.
        box_channels: units of both fully connected layers.
        anchors: anchor sides; a feature pyramid takes one for each of its five levels.
        rois: regions per picture that train the heads, a quarter of them positive.
        proposals_train: best proposals kept while training.
        proposals_test: best proposals kept while predicting.
        confidence: least score of a detection.

    Raises:
        ValueError: an unknown backbone or mask size, or anchors that do not go with the backbone.
    """
    base = build_backbone(backbone)
    if mask_size not in DECONVOLUTIONS:
        raise ValueError(f"mask_size must be one of {', '.join(map(str, DECONVOLUTIONS))}, got {mask_size}")
    if base.levels > 1 and len(anchors) != base.levels:
        raise ValueError(f"anchors: {backbone} takes {base.levels} of them, got {len(anchors)}")
    sides = tuple(share * min(input_size) for share in anchors)
    boxes = AnchorGenerator(
        sizes=(sides,) if base.levels == 1 else tuple((side,) for side in sides),  # type: ignore[arg-type]
        aspect_ratios=(SHAPES,) * base.levels,  # type: ignore[arg-type]
    )
    channels: int = base.body.out_channels  # type: ignore[assignment]  # torchvision's convention
    rpn = RegionProposalNetwork(
        boxes,
        RPNHead(channels, boxes.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 6 * proposals_train, "testing": 6 * proposals_test},
        post_nms_top_n={"training": proposals_train, "testing": proposals_test},
        nms_thresh=0.7,
    )
    heads = AffordanceRoIHeads(
        box_roi_pool=MultiScaleRoIAlign(list(base.maps), output_size=REGION, sampling_ratio=2),
        box_head=TwoMLPHead(channels * REGION**2, box_channels),
        box_predictor=FastRCNNPredictor(box_channels, num_objects + 1),
        affordance_pool=MultiScaleRoIAlign(list(base.maps), output_size=REGION, sampling_ratio=2),
        affordance_head=AffordanceHead(
            channels, channels=mask_channels, num_affordances=num_affordances, mask_size=mask_size
        ),
        rois=rois,
        confidence=confidence,
    )
    transform = GeneralizedRCNNTransform(
        min(input_size), max(input_size), list(IMAGENET_MEAN), list(IMAGENET_STD), size_divisible=base.divisor,
        fixed_size=(input_size[1], input_size[0]),
    )  # fmt: skip
    return AffordanceNet(base.body, rpn, heads, transform)
