"""Augmentation of stored batches, drawn from (seed, epoch, step, process) and nothing else."""

from __future__ import annotations

import torch

from vidaff.config import TrainSettings
from vidaff.models.video.inputs import FLOW_INVALID, FLOW_UNIT
from vidaff.training.batches import Batch


def step_generator(*keys: int) -> torch.Generator:
    """A generator seeded by the keys, the same on every machine."""
    seed = 0
    for key in keys:
        seed = (seed * 1_000_003 + key + 1) % (2**63 - 1)
    return torch.Generator().manual_seed(seed)


def augment(batch: Batch, settings: TrainSettings, generator: torch.Generator) -> Batch:
    """A changed copy of ``batch`` (tensors as :class:`vidaff.training.batches.ClipStore` gives them)."""
    batch = dict(batch)
    count = len(batch["rgb"])
    if settings.flip:
        _flip(batch, torch.rand(count, generator=generator) < 0.5)
    if settings.colour_jitter:
        batch["rgb"] = _jitter(batch["rgb"], settings.colour_jitter, generator)
    if settings.depth_shift and "depth" in batch:
        shift = torch.randn(count, 1, 1, 1, generator=generator) * settings.depth_shift * 1000
        moved = (batch["depth"] + shift.round().int()).clamp(min=1)
        batch["depth"] = torch.where(batch["depth"] > 0, moved, batch["depth"])
    if settings.flow_noise and "flow" in batch:
        _flow_noise(batch, settings.flow_noise, generator)
    if settings.flow_dropout and "flow" in batch:
        _drop(batch, "flow", settings.flow_dropout, generator)
    if settings.depth_dropout and "depth" in batch:
        _drop(batch, "depth", settings.depth_dropout, generator)
    return batch


def without_first_frames(batch: Batch, count: int) -> Batch:
    """The same clips begun ``count`` frames later; what is now the first frame has no motion."""
    if count == 0:
        return batch
    later = {key: value[:, count:] if key in ("rgb", "depth", "flow") else value for key, value in batch.items()}
    if "flow" in later:
        later["flow"] = later["flow"].clone()
        first = later["flow"][:, 0]
        later["flow"][:, 0] = torch.where(first == FLOW_INVALID, first, torch.zeros_like(first))
    return later


def last_frame(batch: Batch) -> Batch:
    """The same clips as still pictures: the last frame alone, without motion."""
    still = {key: value for key, value in batch.items() if key != "flow"}
    for key in ("rgb", "depth"):
        if key in still:
            still[key] = still[key][:, -1:]
    return still


def _flip(batch: Batch, chosen: torch.Tensor) -> None:
    """Mirror the chosen clips; X motion changes its sign."""
    axes = {"rgb": 3, "depth": 3, "flow": 3, "mask": 2, "affordances": 2}  # the width axis of each
    for key, axis in axes.items():
        if key in batch:
            batch[key] = batch[key].clone()
            batch[key][chosen] = batch[key][chosen].flip(axis)
    if "flow" in batch:
        x = batch["flow"][chosen][..., 0]
        mirrored = batch["flow"][chosen]
        mirrored[..., 0] = torch.where(x == FLOW_INVALID, x, -x)
        batch["flow"][chosen] = mirrored


def _jitter(rgb: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Per clip: gain, offset and tint of at most ``strength``; (B, T, H, W, 3) uint8."""
    count = len(rgb)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(count, 1, 1, 1, *shape, generator=generator) * 2 - 1) * strength

    gain = (1 + draw(1)) * (1 + 0.5 * draw(3))  # (B, 1, 1, 1, 3)
    offset = draw(1) * 64
    return (rgb.float() * gain + offset).clamp_(0, 255).byte()


def _flow_noise(batch: Batch, sigma: float, generator: torch.Generator) -> None:
    flow = batch["flow"]
    noise = torch.randn(flow.shape, generator=generator) * (sigma / FLOW_UNIT)
    noisy = (flow + noise).round().clamp(-32767, 32767).to(torch.int16)
    batch["flow"] = torch.where(flow == FLOW_INVALID, flow, noisy)


def _drop(batch: Batch, key: str, share: float, generator: torch.Generator) -> None:
    dropped = torch.rand(len(batch[key]), generator=generator) < share
    keep = (~dropped).to(batch[key].dtype).view(-1, *[1] * (batch[key].ndim - 1))
    batch[key] = batch[key] * keep
