"""What the loaders of detectors and segmenters share: devices, kinds of models, identities, the picture last seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from vidaff.config import Settings
from vidaff.errors import VidaffError
from vidaff.models.image.pretrained import load_pretrained
from vidaff.models.precision import fast_bf16_products

Value = TypeVar("Value")
SAMPLES = 256


def choose_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one; raise :class:`VidaffError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise VidaffError(f"device {device!r}: PyTorch knows no such device") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise VidaffError(f"device {device!r}: there is no usable GPU")
    return chosen


def uses_bf16(device: torch.device, precision: str) -> bool:
    """Whether ``precision`` (auto, fp32, bf16) means bf16 on ``device``."""
    return precision == "bf16" or (precision == "auto" and fast_bf16_products(device))


def required(value: str | None, what: str) -> str:
    """``value``; raise :class:`VidaffError` saying that ``what`` must be named when it is missing."""
    if not value:
        raise VidaffError(f"{what} must be named; nothing is downloaded unasked")
    return value


def check_kind(source: str, kinds: tuple[str, ...], what: str) -> Any:
    """Configuration of a model of transformers; raise :class:`VidaffError` unless it is of one of ``kinds``."""
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig.from_pretrained, source, what)
    if config.model_type not in kinds:
        raise VidaffError(f"{what} {source!r}: is of the kind {config.model_type!r}, expected {' or '.join(kinds)}")
    return config


def weights_identity(state: Mapping[str, torch.Tensor], settings: Settings | None = None) -> str:
    """Short hash of settings and of samples of every weight; hashing gigabytes whole would take seconds.

    Where the weights lie, and how many things are computed at once, makes no difference.
    """
    exclude = {"weights", "text", "names", "tokenizer", "batch"}
    digest = hashlib.sha256(b"" if settings is None else settings.model_dump_json(exclude=exclude).encode())
    for name in sorted(state):
        flat = state[name].detach().reshape(-1)
        step = max(1, len(flat) // SAMPLES)
        digest.update(name.encode() + flat[::step][:SAMPLES].double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_picture(image: np.ndarray) -> None:
    """Raise :class:`ValueError` for anything but (H, W, 3) uint8 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")


def picture_key(image: np.ndarray) -> tuple[int, int, bytes]:
    """Size and hash of a picture's content: the same array may hold another picture the next time."""
    height, width = image.shape[:2]
    return height, width, hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


class LastPicture(Generic[Value]):
    """Keeps what was made of the last picture, so that several questions about it pay once."""

    def __init__(self) -> None:
        self._key: tuple[int, int, bytes] | None = None
        self._value: Value | None = None

    def get(self, image: np.ndarray, make: Callable[[np.ndarray], Value]) -> Value:
        """``make(image)``, or what it gave for the same picture just before."""
        key = picture_key(image)
        if self._value is None or key != self._key:
            self._key, self._value = None, None  # Frees the old one before the next is made.
            self._value = make(image)
            self._key = key
        return self._value

    def knows(self, image: np.ndarray) -> bool:
        """Whether ``image`` is the last picture."""
        return self._key is not None and picture_key(image) == self._key
