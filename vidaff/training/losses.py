"""Losses of the video branch and the class statistics they need."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F

from vidaff.datasets.taxonomy import IGNORE


def segmentation_nll(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Pixel-wise negative log-likelihood, mean over all pixels that are not to be ignored.

    Source: Thermos et al., ICASSP 2020, section 3. Class weights are ours, off in the ``paper`` recipe.

    Args:
        logits: (B, K + 1, H, W).
        target: (B, H, W) class ids, 255 = ignore.
        weights: (K + 1,) or None; the mean is the weighted mean.
    """
    if not (target != IGNORE).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, target.long(), weight=weights, ignore_index=IGNORE)


def any_part_nll(logits: torch.Tensor, affordances: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """NLL of "one of the affordances this pixel has", for pictures in which all parts are labelled.

    A still picture does not say which action is meant, so a pixel that affords several classes is satisfied by any
    probability on their union.

    Args:
        logits: (B, K + 1, H, W).
        affordances: (B, H, W) integer bit mask, bit k = affords class k, 0 = background.
        weights: (K + 1,) or None; a pixel's weight is the mean weight of its classes.
    """
    count = logits.shape[1] - 1
    bits = torch.arange(count, device=logits.device).view(1, -1, 1, 1)
    allowed = ((affordances.unsqueeze(1).long() >> bits) & 1).bool()  # (B, K, H, W)
    allowed = torch.cat([allowed, ~allowed.any(dim=1, keepdim=True)], dim=1)  # (B, K + 1, H, W)
    log_probs = F.log_softmax(logits, dim=1).masked_fill(~allowed, float("-inf"))
    loss = -torch.logsumexp(log_probs, dim=1)  # (B, H, W)
    if weights is None:
        return loss.mean()
    shares = allowed / allowed.sum(dim=1, keepdim=True)
    pixel_weights = (shares * weights.view(1, -1, 1, 1)).sum(dim=1)
    return (loss * pixel_weights).sum() / pixel_weights.sum()


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Soft Dice of the labelled affordance of each clip, mean over the clips that show one.

    Args:
        logits: (B, K + 1, H, W); the last class is the background.
        target: (B, H, W) class ids, 255 = ignore. Clips have one affordance; with more, each counts.
    """
    background = logits.shape[1] - 1
    known = (target != IGNORE).unsqueeze(1)
    truth = F.one_hot(torch.where(target == IGNORE, background, target).long(), logits.shape[1])
    truth = truth.movedim(-1, 1)[:, :background] * known  # (B, K, H, W)
    probs = F.softmax(logits, dim=1)[:, :background] * known
    overlap = (probs * truth).sum(dim=(2, 3))
    total = (probs + truth).sum(dim=(2, 3))
    present = truth.sum(dim=(2, 3)) > 0
    if not present.any():
        return logits.sum() * 0
    return (1 - 2 * overlap / total.clamp(min=1e-6))[present].mean()


def class_weights(frequencies: np.ndarray, *, background: float, balance: float) -> torch.Tensor | None:
    """Weights (K + 1,) of the NLL; None when every weight is 1.

    Args:
        frequencies: (K + 1,) share of pixels per class in the training labels.
        background: weight of the background.
        balance: exponent of the inverse frequency of the affordances; the mean weight of those that occur stays 1,
            and so is the weight of those that do not.
    """
    if background == 1 and balance == 0:
        return None
    parts, occurs = frequencies[:-1], frequencies[:-1] > 0
    weights = np.ones(len(parts))
    if occurs.any():
        rarity = np.maximum(parts[occurs], 1e-6) ** -balance
        weights[occurs] = rarity / rarity.mean()
    return torch.tensor([*weights, background], dtype=torch.float32)


def class_frequencies(masks: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """Share of pixels per class id over label maps, ignored pixels left out; (num_classes,) float64.

    One label map is held at a time.
    """
    counts = np.zeros(num_classes)
    for mask in masks:
        counts += np.bincount(mask[mask != IGNORE].ravel(), minlength=num_classes)[:num_classes]
    return counts / max(counts.sum(), 1)
