"""Depth from a single colour picture, by a transformers model that the user names. Nothing is fetched unasked.

Any model of transformers' depth-estimation task works: a local folder, a model already in the local cache, or a hub
id, which is then downloaded once: to name it is to ask for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidaff.errors import VidaffError, first_line
from vidaff.hub import ask_hub, is_hub_id

METRIC_KINDS = ("zoedepth", "depth_pro", "glpn")
"""Model types whose output is metres; the others say so in their configuration or give relative inverse depth."""
NEAR_M, FAR_M = 0.1, 10.0
LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError)
"""What transformers raises for names it does not know, foreign models and damaged files."""


class DepthEstimator:
    """Estimates depth in metres from RGB.

    Args:
        name: folder or hub id of a transformers depth-estimation model.
        device: where it runs.
        assumed_depth_m: for models of relative depth only: the distance that the middle (median) of the first frame
            is taken to be at. The factor found there is kept, so that the scale does not flicker.

    Raises:
        VidaffError: no such model, no depth-estimation model, or damaged files.
    """

    def __init__(self, name: str, *, device: str | torch.device = "cpu", assumed_depth_m: float = 0.6) -> None:
        self.name = name
        self.device = torch.device(device)
        self.assumed_depth_m = assumed_depth_m
        self._processor, self._model = _load(name)
        self._model = self._model.eval().to(self.device)
        self._scale: float | None = None

    @property
    def is_metric(self) -> bool:
        """Whether the model gives metres by itself; else its relative depth is scaled to the assumed distance."""
        config = self._model.config
        return config.model_type in METRIC_KINDS or getattr(config, "depth_estimation_type", None) == "metric"

    def reset(self) -> None:
        """Forget the scale of the clip so far."""
        self._scale = None

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Depth (H, W) float32 metres, 0.1 to 10, of a picture (H, W, 3) uint8 RGB."""
        inputs = self._processor(images=rgb, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            predicted = self._model(**inputs).predicted_depth.float()  # (1, h, w)
        height, width = rgb.shape[:2]
        full = torch.nn.functional.interpolate(predicted[:, None], (height, width), mode="bilinear")[0, 0]
        metres = full.cpu().numpy()
        if not self.is_metric:
            metres = self._from_inverse(metres)
        return np.clip(np.nan_to_num(metres, nan=FAR_M), NEAR_M, FAR_M).astype(np.float32)

    def _from_inverse(self, inverse: np.ndarray) -> np.ndarray:
        """Relative inverse depth (larger is nearer) to metres, with the scale of the clip's first frame."""
        positive = np.maximum(np.nan_to_num(inverse), 1e-6)
        if self._scale is None:
            self._scale = self.assumed_depth_m * float(np.median(positive))
        metres: np.ndarray = self._scale / positive
        return metres


def _load(name: str) -> tuple[Any, Any]:
    """Processor and model: local files first; the hub only for a hub id of which there are none."""
    try:
        return _from_pretrained(name, local_files_only=True)
    except LOAD_ERRORS as error:
        if Path(name).exists():
            raise _not_loaded(name, first_line(error)) from error
    if not is_hub_id(name):
        raise _not_loaded(name, "no such folder, and nothing of that name in the local cache")
    try:
        ask_hub(name)
        return _from_pretrained(name)
    except VidaffError as error:
        raise VidaffError(f"depth model {error}") from error
    except LOAD_ERRORS as error:
        raise _not_loaded(name, first_line(error)) from error


def _from_pretrained(name: str, **options: Any) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    # Code that a repository brings along is never run, and weights are read as safetensors only.
    safe = {"trust_remote_code": False, **options}
    processor = AutoImageProcessor.from_pretrained(name, **safe)
    return processor, AutoModelForDepthEstimation.from_pretrained(name, use_safetensors=True, **safe)


def _not_loaded(name: str, reason: str) -> VidaffError:
    return VidaffError(
        f"depth model {name!r} cannot be loaded ({reason}); name a folder or hub id (owner/name) of a depth estimator"
    )
