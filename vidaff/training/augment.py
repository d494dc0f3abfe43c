"""Augmentation of stored batches, drawn from (seed, epoch, step, process) and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidaff.config import TrainSettings
from vidaff.flow3d.store import INVALID, LIMIT, STEP_M
from vidaff.training.batches import Batch, without_first_motion
from vidaff.training.warp import warp


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
    if settings.zoom > 1 or settings.shift or settings.rotate:
        batch = warp(batch, settings, generator)
    if settings.flip:
        _flip(batch, _draw(torch.rand, (count,), generator, batch["rgb"]) < 0.5)
    if settings.colour_jitter:
        batch["rgb"] = _jitter(batch["rgb"], settings.colour_jitter, generator)
    if settings.depth_shift and "depth" in batch:
        shift = _draw(torch.randn, (count, 1, 1, 1), generator, batch["depth"]) * settings.depth_shift * 1000
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
        later["flow"] = without_first_motion(later["flow"])
    return later


def last_frame(batch: Batch) -> Batch:
    """The same clips as still pictures: the last frame alone, without motion."""
    still = {key: value for key, value in batch.items() if key != "flow"}
    for key in ("rgb", "depth"):
        if key in still:
            still[key] = still[key][:, -1:]
    return still


def _draw(
    kind: Callable[..., torch.Tensor], shape: tuple[int, ...], generator: torch.Generator, like: torch.Tensor
) -> torch.Tensor:
    """Random numbers on the device of ``like``, drawn on the CPU, so that they are the same on every machine."""
    return kind(shape, generator=generator).to(like.device)


def _per_clip(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) -> (B, 1, 1, ...), to be broadcast over the axes of ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _flip(batch: Batch, chosen: torch.Tensor) -> None:
    """Mirror the chosen clips; X motion changes its sign."""
    axes = {"rgb": 3, "depth": 3, "flow": 3, "mask": 2, "affordances": 2}  # the width axis of each
    for key in axes.keys() & batch.keys():
        mirrored = batch[key].flip(axes[key])
        if key == "flow":
            x = mirrored[..., 0]
            mirrored[..., 0] = torch.where(x == INVALID, x, -x)
        batch[key] = torch.where(_per_clip(chosen, mirrored), mirrored, batch[key])


def _jitter(rgb: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Per clip: gain, offset and tint of at most ``strength``; (B, T, H, W, 3) uint8."""
    count = len(rgb)

    def draw(*shape: int) -> torch.Tensor:
        return (_draw(torch.rand, (count, 1, 1, 1, *shape), generator, rgb) * 2 - 1) * strength

    gain = (1 + draw(1)) * (1 + 0.5 * draw(3))  # (B, 1, 1, 1, 3)
    offset = draw(1) * 64
    return (rgb.float() * gain + offset).clamp_(0, 255).byte()


def _flow_noise(batch: Batch, sigma: float, generator: torch.Generator) -> None:
    flow = batch["flow"]
    noise = _draw(torch.randn, tuple(flow.shape), generator, flow) * (sigma / STEP_M)
    noisy = (flow + noise).round().clamp(-LIMIT, LIMIT).to(torch.int16)
    batch["flow"] = torch.where(flow == INVALID, flow, noisy)


def _drop(batch: Batch, key: str, share: float, generator: torch.Generator) -> None:
    kept = _draw(torch.rand, (len(batch[key]),), generator, batch[key]) >= share
    batch[key] = batch[key] * _per_clip(kept, batch[key])
