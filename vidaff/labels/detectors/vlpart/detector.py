"""VLPart as a part detector: checkpoints, text features, pictures in and boxes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from vidaff.errors import VidaffError
from vidaff.labels.detectors.vlpart.cascade import Boxes
from vidaff.labels.detectors.vlpart.network import VLPartNet, padded_shape
from vidaff.labels.detectors.vlpart.settings import VLPartSettings
from vidaff.labels.detectors.vlpart.texts import Texts, VectorTexts, classifier, tower_from_state
from vidaff.labels.loading import uses_bf16
from vidaff.labels.types import Detections
from vidaff.models.image.strict import check_state

TOWER = "text_encoder."
IGNORED = ("roi_heads.mask_head.", TOWER)
"""Weights of the zoo's checkpoints that boxes do not need, and those of the text tower, which is loaded apart."""
IGNORED_ENDS = (".zs_weight", ".relative_position_index")
PRECISIONS = ("auto", "fp32", "bf16")


class VLPart:
    """Finds parts by their names.

    Args:
        net: the network, on its device.
        texts: gives the features of names; None: the checkpoint had no text tower and none was named.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``, which is bf16 on a GPU and on CPUs with
                bf16 instructions.
    """

    name = "vlpart"

    def __init__(self, net: VLPartNet, texts: Texts | None, *, precision: str = "auto", identity: str = "") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.net, self.texts = net.eval(), texts
        self.device = next(net.parameters()).device
        self.bf16 = uses_bf16(self.device, precision)
        if self.bf16:
            store_bf16(self.net)
        self._identity = identity

    @classmethod
    def from_checkpoint(
        cls,
        path_or_state_dict: str | Path | Mapping[str, torch.Tensor],
        *,
        config: VLPartSettings | Mapping[str, Any] | None = None,
        texts: Texts | None = None,
        tokenizer: str | Path | Any | None = None,
        device: str = "cpu",
        precision: str = "auto",
    ) -> VLPart:
        """Load the authors' checkpoint as it is.

        Args:
            path_or_state_dict: a ``.pth`` file (its ``model`` entry, or the dictionary itself), ``.safetensors``, or
                a state dictionary, whose memory the detector shares where it can.
            config: settings that differ from the release's; sizes are read off the shapes.
            texts: where features of names come from; default: the text tower in the checkpoint, with ``tokenizer``.
            tokenizer: CLIP's tokenizer, or its folder or hub id.
            device: ``cpu``, ``cuda`` ...
            precision: see the class.

        Raises:
            VidaffError: a file that cannot be read, or weights of another architecture (names the first ones).
        """
        state, where = _state_of(path_or_state_dict)
        others = config.model_dump(exclude_unset=True) if isinstance(config, VLPartSettings) else dict(config or {})
        own = {k: v for k, v in state.items() if not k.startswith(IGNORED) and not k.endswith(".zs_weight")}
        try:
            shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
            settings = VLPartSettings.from_shapes(shapes, **others)
            with torch.device("meta"):
                net = VLPartNet(settings)
            fill(net, own)
        except ValueError as error:
            raise VidaffError(f"{where}: not a VLPart checkpoint ({error})") from error
        identity = _identity(own, settings)
        tower = {name: tensor for name, tensor in state.items() if name.startswith(TOWER)}
        del state, own  # what is not shared goes before bf16 weights, those on a GPU, or a text tower are made
        detector = cls(net.to(device), texts, precision=precision, identity=identity)
        if texts is None and tokenizer is not None:
            detector.texts = _own_tower(tower, tokenizer, settings, where)
        return detector

    @torch.inference_mode()
    def detect(self, image: np.ndarray, queries: Sequence[str]) -> Detections:
        """Find ``queries`` in ``image`` (H, W, 3) uint8 RGB; at most ``detections`` boxes, best first."""
        return self.detect_many([image], [queries])[0]

    @torch.inference_mode()
    def detect_many(self, images: Sequence[np.ndarray], queries: Sequence[Sequence[str]]) -> list[Detections]:
        """As :meth:`detect` for several pictures, in one pass for those of one size after resizing and padding.

        Every picture gets what it gets alone, up to rounding; pictures of other sizes in a pass would change that.

        Raises:
            VidaffError: no text features for a query.
            ValueError: an empty query, or a picture of another type.
        """
        pictures = [resize(image, self.net.settings) for image in images]
        texts = [self.text_features(names).to(self.device) for names in queries]
        tensors = [torch.from_numpy(picture).permute(2, 0, 1).to(self.device) for picture in pictures]
        found: dict[int, Boxes] = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            for rows in _of_one_size(pictures):
                boxes = self.net([tensors[row] for row in rows], [texts[row] for row in rows])
                found |= dict(zip(rows, boxes, strict=True))
        return [
            _detections(found[row], image.shape[:2], picture.shape[:2])
            for row, (image, picture) in enumerate(zip(images, pictures, strict=True))
        ]

    def text_features(self, names: Sequence[str]) -> torch.Tensor:
        """(D, n) normalised features of the names; raise :class:`VidaffError` without a source of them."""
        if not names:
            raise ValueError("no query was given")
        if self.texts is None:
            raise VidaffError(
                "this VLPart has no text features: name CLIP's tokenizer (the checkpoint holds the text tower), "
                "an archive of CLIP RN50 with a tokenizer, or a table of class vectors"
            )
        features = self.texts(names)
        if features.shape[1] != self.net.settings.text_dim:
            raise VidaffError(
                f"text features of length {features.shape[1]}, the detector compares {self.net.settings.text_dim}: "
                "VLPart needs those of CLIP RN50"
            )
        return classifier(features)

    def fingerprint(self) -> str:
        """Hash of the weights and settings, that of the text features, and the precision."""
        texts = "none" if self.texts is None else self.texts.fingerprint()
        return f"vlpart-{self._identity}-{texts}-{'bf16' if self.bf16 else 'fp32'}"


def resize(image: np.ndarray, settings: VLPartSettings) -> np.ndarray:
    """Scale a picture so that its short side is ``short_side``, or its long one ``long_side`` if that is less.

    Raises:
        ValueError: not (H, W, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture is (H, W, 3) uint8, got {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    target = resized_shape(height, width, settings.short_side, settings.long_side)
    if target == (height, width):
        return np.array(image)
    return np.array(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))


def resized_shape(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """(height, width) after resizing, both at least 1."""
    scale = short_side / min(height, width)
    rows, columns = (short_side, scale * width) if height < width else (scale * height, short_side)
    largest = max(rows, columns)
    if largest > long_side:
        rows, columns = rows * long_side / largest, columns * long_side / largest
    return max(1, int(rows + 0.5)), max(1, int(columns + 0.5))


def fill(net: VLPartNet, state: Mapping[str, torch.Tensor]) -> None:
    """Put weights into a network on the ``meta`` device; index tables and constants are computed, not loaded.

    float32 weights are shared with ``state``: a copy would take 550 MB more.
    """
    from vidaff.labels.detectors.vlpart.swin import WindowAttention, relative_positions

    window = net.settings.window
    for module in net.modules():
        if isinstance(module, WindowAttention):
            # The same for every window, so the copies in a file have no say in it.
            module.relative_position_index = relative_positions(window)
    shared = {name: tensor for name, tensor in state.items() if not name.endswith(IGNORED_ENDS)}
    check_state(net, shared)
    for name, tensor in shared.items():
        # Of the extremes, which pass on what is no number: of all of them would take a mask of every tensor.
        if not tensor.is_floating_point() or not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise ValueError(f"{name} holds other things than finite floating-point numbers")
    net.load_state_dict({name: tensor.detach().float().contiguous() for name, tensor in shared.items()}, assign=True)
    net.mean = torch.tensor(net.settings.pixel_mean).view(3, 1, 1)
    net.std = torch.tensor(net.settings.pixel_std).view(3, 1, 1)


def store_bf16(net: VLPartNet) -> None:
    """Keep the weights as autocast rounds them: the same numbers in half the memory, and not rounded in every call."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)


def _of_one_size(pictures: Sequence[np.ndarray]) -> list[list[int]]:
    """Positions of the pictures that the network sees in one size, size by size."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, picture in enumerate(pictures):
        rows.setdefault(padded_shape(picture.shape[0], picture.shape[1]), []).append(row)
    return list(rows.values())


def _detections(found: Boxes, original: tuple[int, ...], resized: tuple[int, ...]) -> Detections:
    """Boxes on the original picture, without those that nothing is left of."""
    scale = torch.tensor([original[1] / resized[1], original[0] / resized[0]] * 2, device=found.boxes.device)
    limit = torch.tensor([original[1], original[0]] * 2, device=found.boxes.device)
    boxes = torch.minimum((found.boxes * scale).clamp(min=0), limit)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(
        boxes[kept].float().cpu().numpy(), found.scores[kept].float().cpu().numpy(), found.names[kept].cpu().numpy()
    )


def _state_of(source: str | Path | Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    if isinstance(source, Mapping):
        return dict(source), "the state dictionary"
    path = Path(source)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path), str(path)
        except (SafetensorError, OSError) as error:
            raise VidaffError(f"{path}: not a readable safetensors file ({error})") from error
    from vidaff.weights import load_torch_file

    content = load_torch_file(path)
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise VidaffError(f"{path}: holds no dictionary of tensors")
    return dict(state), str(path)


def _own_tower(state: dict[str, torch.Tensor], tokenizer: Any, settings: VLPartSettings, where: str) -> Texts:
    tower = {name.removeprefix(TOWER): tensor for name, tensor in state.items()}
    if not tower:
        raise VidaffError(f"{where}: holds no text tower; name an archive of CLIP RN50 or a table of class vectors")
    if isinstance(tokenizer, str | Path):
        from transformers import CLIPTokenizer

        from vidaff.models.image.pretrained import load_pretrained

        tokenizer = load_pretrained(CLIPTokenizer.from_pretrained, tokenizer, "CLIP tokenizer")
    return tower_from_state(tower, tokenizer, settings.text_heads)


def _identity(state: Mapping[str, torch.Tensor], settings: VLPartSettings) -> str:
    """Short hash of the settings and of samples of every weight; hashing 800 MB whole would take seconds."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    for name in sorted(state):
        flat = state[name].detach().reshape(-1)
        step = max(1, len(flat) // 256)
        digest.update(name.encode() + flat[::step][:256].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


__all__ = ["VLPart", "VectorTexts", "resize"]
