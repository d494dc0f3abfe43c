"""Backbones of AffordanceNet: what turns a picture into feature maps, and the boxes that regions are compared with.

Contract: ``backbone(x)`` of (B, 3, H, W) gives a map, or named maps, with ``out_channels`` channels at 1/``stride``.
One worked example, a 300x300 picture, padded to 304 by the transform::

    vgg16      (B, 512, 19, 19)                                  stride 16, conv5_3 with its ReLU
    resnet50   five maps (B, 256, 80, 80) .. (B, 256, 5, 5)      strides 4 to 64, a feature pyramid; padded to 320
    tiny       (B, 64, 76, 76)                                   stride 4
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision.models import vgg16
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from vidaff.errors import VidaffError
from vidaff.weights import load_torch_file

FROZEN = {"vgg16": ("0.", "2.", "5.", "7."), "resnet50": ("body.conv1", "body.bn1", "body.layer1")}
"""Layers that keep their ImageNet weights: conv1 and conv2 as in the authors' release, and what is like them."""


@dataclass(frozen=True)
class Backbone:
    """A network and what the parts behind it must know of it.

    ``maps``: names of the maps that regions are cut from; ``levels``: maps that carry anchors; ``divisor``: sides of
    the padded input are multiples of it.
    """

    body: nn.Module
    maps: tuple[str, ...]
    levels: int
    divisor: int


class TinyBackbone(nn.Module):
    """Five 3x3 CONV, group normalisation, ReLU at full, half and quarter size. Ours, for CPUs: (B, 64, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (16, 32, 64, 64, 64), (2, 1, 2, 1, 1)
        layers: list[nn.Module] = []
        before = 3
        for width, stride in zip(widths, strides, strict=True):
            conv = nn.Conv2d(before, width, 3, stride=stride, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
            layers += [conv, nn.GroupNorm(8, width), nn.ReLU()]
            before = width
        self.layers = nn.Sequential(*layers)
        self.out_channels = before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(x)
        return features


def build_backbone(name: str) -> Backbone:
    """A backbone without weights: ``vgg16``, ``resnet50`` or ``tiny``; raise :class:`ValueError` for another name."""
    if name == "vgg16":
        body = vgg16(weights=None).features[:-1]  # without pool5
        body.out_channels = 512  # where torchvision's detection parts look for it
        return Backbone(body, ("0",), levels=1, divisor=16)
    if name == "resnet50":
        pyramid = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        return Backbone(pyramid, ("0", "1", "2", "3"), levels=5, divisor=32)
    if name == "tiny":
        return Backbone(TinyBackbone(), ("0",), levels=1, divisor=4)
    raise ValueError(f"backbone must be vgg16, resnet50 or tiny, got {name!r}")


def load_backbone_weights(backbone: nn.Module, box_head: nn.Module, name: str, path: str | Path) -> None:
    """Put ImageNet weights of a local torchvision file into ``backbone``, and freeze its first stages.

    VGG-16's two large fully connected layers go into ``box_head`` where it has their size, as in the authors'
    release.

    Raises:
        VidaffError: no such file, not a plain tensor file, or not of this backbone.
    """
    path = Path(path)
    if name not in FROZEN:
        raise VidaffError(f"train.backbone_weights={path}: there are no such weights for model.backbone={name}")
    if not path.is_file():
        raise VidaffError(f"train.backbone_weights={path}: no such file")
    stored = load_torch_file(path)
    if not isinstance(stored, dict) or not all(isinstance(value, torch.Tensor) for value in stored.values()):
        raise VidaffError(f"{path}: holds no plain weights of torchvision's {name}")
    prefix = ("features.", "") if name == "vgg16" else ("", "body.")
    # Layers of the feature pyramid have no ImageNet weights.
    wanted = {key for key in backbone.state_dict() if not key.startswith("fpn.")}
    renamed = {prefix[1] + key.removeprefix(prefix[0]): value for key, value in stored.items()}
    _copy(backbone, {key: renamed.get(key) for key in wanted}, path, name)
    if name == "vgg16":
        pairs = {"fc6": "classifier.0", "fc7": "classifier.3"}
        own = {f"{ours}.{kind}": stored.get(f"{theirs}.{kind}") for ours, theirs in pairs.items() for kind in _KINDS}
        if all(value is not None and box_head.state_dict()[key].shape == value.shape for key, value in own.items()):
            _copy(box_head, own, path, name)
    for key, parameter in backbone.named_parameters():
        if key.startswith(FROZEN[name]):
            parameter.requires_grad_(False)


_KINDS = ("weight", "bias")


def _copy(module: nn.Module, values: dict[str, torch.Tensor | None], path: Path, name: str) -> None:
    state = module.state_dict()
    for key, value in values.items():
        if value is None or value.shape != state[key].shape:
            found = "is missing" if value is None else f"is {tuple(value.shape)} instead of {tuple(state[key].shape)}"
            raise VidaffError(f"{path}: weights of another network than torchvision's {name}: {key} {found}")
        state[key].copy_(value)
