"""Losses of the image branch: of the grounding network and of the refinement network."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from vidaff.models.image.grounder import GroundingOutput

Pairing = Literal["paired", "broadcast"]
CropResize = Literal["pad", "stretch"]
EPS = 1e-8


class LossWeights(NamedTuple):
    """Weights of the grounding losses, as in the authors' configuration.

    The paper pairs the object's loss with 0.1 and the part's with 1, but its symbols are crossed there.
    """

    heatmap: float = 1.0
    alignment: float = 10.0
    exo: float = 10.0
    noun: float = 1.0
    part: float = 0.1


DEFAULT_WEIGHTS = LossWeights()


class GroundingTargets(NamedTuple):
    """What the grounding network should say of a batch.

    heatmap: (B, 1, H, W), sums to 1 over the pixels of each picture.
    verb: (B,) class of the affordance; noun, part: (B, D) text features.
    valid: (B,) weight of each picture in the heat-map loss, None for 1.
    """

    heatmap: torch.Tensor
    verb: torch.Tensor
    noun: torch.Tensor
    part: torch.Tensor
    valid: torch.Tensor | None = None


def grounding_losses(
    output: GroundingOutput,
    target: GroundingTargets,
    *,
    weights: LossWeights = DEFAULT_WEIGHTS,
    pairing: Pairing = "paired",
) -> dict[str, torch.Tensor]:
    """Every loss by its name in :class:`LossWeights`, unweighted, and their weighted ``total``.

    Parts that the network or the batch does not have (reasoning, exocentric pictures) are left out.

    Source: Xu et al., ICLR 2025, section 3.6; weights of the authors' code.
    """
    losses = {"heatmap": heatmap_divergence(output.logits, target.heatmap, target.valid)}
    if output.misalignment is not None and output.exo_logits is not None:
        losses["alignment"] = output.misalignment.mean()
        losses["exo"] = exo_classification(output.exo_logits, target.verb)
    if output.noun is not None and output.part is not None:
        losses["noun"] = text_distance(output.noun, target.noun, pairing)
        losses["part"] = text_distance(output.part, target.part, pairing)
    total = sum((getattr(weights, name) * loss for name, loss in losses.items()), torch.zeros(()).to(output.logits))
    return {**losses, "total": total}


def heatmap_divergence(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """KL divergence of the softmax over pixels from the target, weighted by ``valid``.

    The divisor counts the pictures with a positive weight, whatever the weights are, as in the authors' code.

    Args:
        logits: (B, 1, h, w), enlarged (bilinear) to the target's size.
        target: (B, 1, H, W), sums to 1 over the pixels of each picture.
        valid: (B,) weights, None for 1; the loss is 0 when none is positive.
    """
    if logits.shape[-2:] != target.shape[-2:]:
        logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
    log_probs = F.log_softmax(logits.flatten(1).float(), dim=1)  # (B, H * W)
    truth = target.flatten(1).to(log_probs.dtype)
    divergence = (torch.xlogy(truth, truth) - truth * log_probs).sum(dim=1)  # (B,)
    weights = torch.ones_like(divergence) if valid is None else valid.to(divergence.dtype)
    return (divergence * weights).sum() / (weights > 0).sum().clamp(min=1)


def exo_classification(logits: torch.Tensor, verb: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the exocentric ``logits`` (B, n, classes) with the class ``verb`` (B,), mean over all."""
    return F.cross_entropy(logits.flatten(0, 1), verb.repeat_interleave(logits.shape[1]))


def text_distance(guess: torch.Tensor, text: torch.Tensor, pairing: Pairing = "paired") -> torch.Tensor:
    """Mean cosine distance of ``guess`` (B, 1, D) to the text features (B, D).

    Deviation: ``broadcast`` compares every guess with every text, as the authors' code does when its text features
    are vectors; ``paired`` compares each with its own.
    """
    other = text if pairing == "broadcast" else text.unsqueeze(1)
    return (1 - F.cosine_similarity(guess, other, dim=-1)).mean()


def refinement_loss(
    logits: torch.Tensor,
    ego_tokens: torch.Tensor,
    exo_tokens: torch.Tensor,
    *,
    boxes: torch.Tensor,
    exo_masks: torch.Tensor,
    weights: torch.Tensor,
    temperature: float = 1.0,
    resize: CropResize = "pad",
) -> torch.Tensor:
    """Distance between the object without the predicted part and the object that a hand covers there.

    In exocentric pictures the person hides the part that affords the action, so the mask is good when the features
    of the rest of the object are those of the visible object in use.

    Source: Xu et al., ICLR 2025, section 3.3. To be weighted by 4, as in the authors' code.
    Deviation of the authors' code: it resizes the mask of the box without padding it to a square first, while the
    features are those of the padded box; ``resize="stretch"`` does the same.

    Args:
        logits: (B, 1, h, w) of the refinement network.
        ego_tokens: (B, 1 + N, C) of a frozen encoder on the box of each object, padded to a square.
        exo_tokens: (B * n, 1 + N, C) of the same encoder on the exocentric objects, by picture.
        boxes: (B, 4) left, top, right, bottom in whole pixels of the network's input.
        exo_masks: (B * n, 1, S, S) masks of the exocentric objects at their crops' size, 0..1.
        weights: (B * n,), 0 for exocentric objects that cannot be used.
        temperature: above 1 the mask is sharpened around 0.5.
        resize: how the mask of the box becomes the grid of its features.
    """
    side = round((ego_tokens.shape[1] - 1) ** 0.5)
    size = exo_masks.shape[-1]
    rest = 1 - F.interpolate(torch.sigmoid(logits.float()), size=(size, size), mode="bilinear", align_corners=False)
    if temperature > 1:
        rest = torch.sigmoid(temperature * (rest - 0.5))
    ego_mask = torch.cat([_box_mask(one, box, side, resize) for one, box in zip(rest, boxes.tolist(), strict=True)])
    exo_mask = (F.avg_pool2d(exo_masks.float(), size // side) > 0.5).float()  # (B * n, 1, side, side)
    ego = _masked_mean(ego_tokens, ego_mask).repeat_interleave(len(exo_tokens) // len(ego_tokens), dim=0)
    exo = _masked_mean(exo_tokens, exo_mask).detach()
    distance = 1 - F.cosine_similarity(exo, ego, dim=-1)  # (B * n,)
    return (weights * distance).sum() / (weights.sum() + EPS)


def _box_mask(mask: torch.Tensor, box: list[float], side: int, resize: CropResize) -> torch.Tensor:
    """The box of ``mask`` (1, S, S) as (1, 1, side, side); padding is zero, half of it (rounded down) comes first."""
    left, top, right, bottom = (int(edge) for edge in box)
    crop = mask[None, :, top:bottom, left:right]
    if resize == "pad":
        height, width = crop.shape[-2:]
        wide, high = max(height - width, 0), max(width - height, 0)
        crop = F.pad(crop, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return F.interpolate(crop, size=(side, side), mode="bilinear", align_corners=False)


def _masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, C) mean of the patch tokens (B, 1 + N, C) under ``mask`` (B, 1, side, side)."""
    weights = mask.flatten(1).unsqueeze(-1)  # (B, N, 1)
    return (tokens[:, 1:] * weights).sum(dim=1) / (weights.sum(dim=1) + EPS)


def parameter_groups(model: nn.Module, lr: float, encoder_factor: float = 0.1) -> list[dict[str, object]]:
    """Trainable parameters for an optimiser, the encoder's at ``lr * encoder_factor``: [others, encoder].

    Source: the authors' code; their optimiser states have this order.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    others = [weight for name, weight in named if not name.startswith("encoder.")]
    encoder = [weight for name, weight in named if name.startswith("encoder.")]
    return [{"params": others, "lr": lr}, {"params": encoder, "lr": lr * encoder_factor}]
