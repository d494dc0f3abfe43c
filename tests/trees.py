"""Miniature data sets on disk for tests: the real SOR3D-AFF tree, with or without vidaff's extras, and own clips."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from vidaff.datasets.taxonomy import AFFORDANCES, MASK_COLOURS
from vidaff.io import write_image, write_json

CAMERA = "fx: {f}\nfy: {f}\ncx: {cx}\ncy: {cy}\nwidth: {w}\nheight: {h}\nfps: {fps}\n"


def frame(height: int, width: int, number: int) -> np.ndarray:
    """A smooth random texture that moves one pixel right per frame; blue is ten times the frame's number."""
    noise = np.random.default_rng(0).random((height, width + 32), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    texture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    texture = texture[:, 32 - number : 32 - number + width]
    return np.dstack([texture, texture, np.full_like(texture, 10 * number)])


def depth_frame(height: int, width: int, number: int) -> np.ndarray:
    """A wall at 800 mm with a hole in the corner."""
    depth = np.full((height, width), 800 + number, np.uint16)
    depth[:2, :2] = 0
    return depth


def colour_mask(height: int, width: int, action: str) -> np.ndarray:
    """White mask; the action's colour in a square, another affordance's colour in a second one."""
    mask = np.full((height, width, 3), 255, np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = MASK_COLOURS[action]
    other = AFFORDANCES[(AFFORDANCES.index(action) + 1) % len(AFFORDANCES)]
    mask[height // 2 :, width // 2 :] = MASK_COLOURS[other]
    mask[:2] = 0
    return mask


def write_recording(
    root: Path, name: str, *, frames: int = 5, size: tuple[int, int] = (32, 40), fps: float = 10, extras: bool = True
) -> Path:
    """One recording below ``root``, all parts there; ``extras`` adds depth, camera, parts and flow."""
    folder, (height, width) = root / name, size
    action = name.split("_")[1]
    for number in range(1, frames + 1):
        write_image(folder / "rgb" / f"{number:04d}.png", frame(height, width, number))
    write_image(folder / "rgb" / "z_1_mask.png", colour_mask(height, width, action))
    for extra in ("z_2_x.png", "z_3_x.png"):
        write_image(folder / "rgb" / extra, np.zeros((4, 4, 3), np.uint8))
    write_json(folder / "rgb" / "z_4_hotspot.json", {"center": [{"x_coord": "10", "y_coord": 12, "radius": 3}]})
    if extras:
        write_extras(folder, action, frames, size, fps)
    return folder


def write_extras(folder: Path, action: str, frames: int, size: tuple[int, int], fps: float) -> None:
    """vidaff's extras of a recording."""
    height, width = size
    parts = np.zeros(size, np.uint8)
    parts[height // 4 : height // 2, width // 4 : width // 2] = 1
    parts[height // 2 :, width // 2 :] = 2
    flow = np.zeros((height, width, 3), np.int16)
    flow[..., 0] = 27
    for number in range(1, frames + 1):
        write_image(folder / "depth" / f"{number:04d}.png", depth_frame(height, width, number))
        write_image(folder / "parts" / f"{number:04d}.png", parts)
        (folder / "flow").mkdir(exist_ok=True)
        np.savez_compressed(folder / "flow" / f"{number:04d}.npz", flow=flow)
    write_json(
        folder / "parts.json",
        {"parts": [{"name": "blade", "affordances": [action]}, {"name": "handle", "affordances": ["grasp", "lift"]}]},
    )
    text = CAMERA.format(f=40.0, cx=(width - 1) / 2, cy=(height - 1) / 2, w=width, h=height, fps=fps)
    (folder / "intrinsics.yaml").write_text(text)


def write_sor3d(root: Path, *, extras: bool = True, size: tuple[int, int] = (32, 40)) -> Path:
    """Three training and two validation recordings of different lengths."""
    recordings = {
        "train": (("Subject1_cut_a_knife", 5), ("Subject10_grasp_knife", 3), ("Subject2_lift_a_b_cup", 12)),
        "val": (("Subject3_push_x_book", 4), ("Subject4_cut_x_knife", 1)),
    }
    for split, entries in recordings.items():
        for name, frames in entries:
            write_recording(root / split, name, frames=frames, size=size, extras=extras)
    return root


def write_own_clip(
    folder: Path, *, frames: int = 4, size: tuple[int, int] = (32, 40), sheet: dict[str, object] | None = None
) -> Path:
    """An own clip with depth of half the size, a grey label picture and a ``clip.json``."""
    height, width = size
    for number in range(frames):
        write_image(folder / "rgb" / f"{number}.jpg", frame(height, width, number))
        write_image(folder / "depth" / f"{number}.png", depth_frame(height // 2, width // 2, number))
    labels = np.full(size, 9, np.uint8)
    labels[4:12, 4:12] = 0
    write_image(folder / "mask.png", labels)
    camera = {"fx": 20, "fy": 20, "cx": width / 4, "cy": height / 4, "width": width // 2, "height": height // 2}
    default = {"action": "cut", "object": "knife", "subject": "me", "fps": 10, "intrinsics": camera}
    (folder / "clip.json").write_text(json.dumps(default if sheet is None else sheet))
    return folder
