"""Metrics of heat maps on AGD20K: KL divergence (KLD), similarity (SIM), normalised scanpath saliency (NSS).

Two public evaluators differ in details that move numbers. ``plsp`` is that of WSAG-PLSP, ``locate`` that of LOCATE
and the methods before it:

=======  =======================================  ================================  ====================
         KLD                                      standard deviation in NSS         looked-at pixels
=======  =======================================  ================================  ====================
plsp     ln(P + 1e-10): at most 23.0 per pixel    of the sample (n - 1)             truth >= 0.1, rescaled
locate   1e-12 in the ratio and in the logarithm  of the population (n)             truth > 0.1, rescaled
=======  =======================================  ================================  ====================

The first caps the penalty of over-confident maps lower, so its KLD does not compare with that of earlier papers.

Source: Xu and Mu, ICLR 2025 (WSAG-PLSP), and Li et al., CVPR 2023 (LOCATE): their public evaluators.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PROTOCOLS = ("plsp", "locate")
SIZE = 224
"""Side of the square on which maps of AGD20K are compared."""
_EPS = 1e-12
_PLSP_EPS = 1e-10


class HeatmapScores(NamedTuple):
    """``kld`` (nats, lower is better), ``sim`` (0..1) and ``nss`` (standard deviations), higher is better."""

    kld: float
    sim: float
    nss: float


def heatmap_scores(pred: np.ndarray, gt: np.ndarray, *, protocol: str = "plsp") -> HeatmapScores:
    """Compare two heat maps (H, W) of values >= 0, in any unit: both are divided by their sum.

    An all-zero truth counts as an even one (AGD20K has one such file). Both evaluators fail on some flat maps; here a
    flat or empty prediction has NSS 0, and an empty one SIM 0 and the KLD of a map that misses everything.

    Raises:
        ValueError: shapes that differ, negative or non-finite values, an unknown ``protocol``.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: unknown {protocol!r}; known: {', '.join(PROTOCOLS)}")
    pred, gt = _checked(pred, "pred"), _checked(gt, "gt")
    if pred.shape != gt.shape:
        raise ValueError(f"pred: shape {pred.shape} differs from gt's {gt.shape}")
    if not gt.any():
        gt = np.ones_like(gt)
    pred, gt = pred / (pred.sum() or 1.0), gt / gt.sum()
    sim = float(np.minimum(pred, gt).sum())
    return HeatmapScores(_divergence(pred, gt, protocol), sim, _saliency(pred, gt, protocol))


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.size < 2:
        raise ValueError(f"{name}: must be (H, W) of two pixels or more, got shape {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name}: values must be finite and not negative")
    return values


def _divergence(pred: np.ndarray, gt: np.ndarray, protocol: str) -> float:
    if protocol == "locate":
        return float((gt * np.log(gt / (pred + _EPS) + _EPS)).sum())
    there = gt > 0
    return float((gt[there] * (np.log(gt[there]) - np.log(pred[there] + _PLSP_EPS))).sum())


def _saliency(pred: np.ndarray, gt: np.ndarray, protocol: str) -> float:
    """Mean of the standardised prediction over the pixels where the truth, rescaled to 0..1, is high."""
    spread = pred.std(ddof=0 if protocol == "locate" else 1)
    if pred.max() == pred.min():  # rounding leaves a spread that is not quite zero
        return 0.0
    height = (gt - gt.min()) / (gt.max() - gt.min() + _EPS)
    seen = height > 0.1 if protocol == "locate" else height >= 0.1
    return float(((pred - pred.mean()) / spread)[seen].sum() / (seen.sum() + _EPS))


def kld(pred: np.ndarray, gt: np.ndarray, *, protocol: str = "plsp") -> np.ndarray:
    """KL divergence (B,) in nats, lower is better, of maps (B, H, W) or (B, N); see :func:`heatmap_scores`."""
    return _column(pred, gt, protocol, "kld")


def sim(pred: np.ndarray, gt: np.ndarray, *, protocol: str = "plsp") -> np.ndarray:
    """Similarity (B,) in 0..1, higher is better, of maps (B, H, W) or (B, N); the same in both protocols."""
    return _column(pred, gt, protocol, "sim")


def nss(pred: np.ndarray, gt: np.ndarray, *, protocol: str = "plsp") -> np.ndarray:
    """Normalised scanpath saliency (B,), higher is better, of maps (B, H, W) or (B, N)."""
    return _column(pred, gt, protocol, "nss")


def _column(pred: np.ndarray, gt: np.ndarray, protocol: str, name: str) -> np.ndarray:
    pred, gt = np.asarray(pred), np.asarray(gt)
    if pred.shape != gt.shape or pred.ndim not in (2, 3):
        raise ValueError(f"pred: must be (B, H, W) or (B, N) as gt, got {pred.shape} and {gt.shape}")
    pairs = zip(pred.reshape(len(pred), 1, -1), gt.reshape(len(gt), 1, -1), strict=True)
    return np.array([getattr(heatmap_scores(*pair, protocol=protocol), name) for pair in pairs])


def resize_heatmap(heat: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resize a map (H, W) to (size, size) float64, bilinear without anti-aliasing, as both evaluators do."""
    import cv2

    return cv2.resize(np.asarray(heat, np.float64), (size, size), interpolation=cv2.INTER_LINEAR)
