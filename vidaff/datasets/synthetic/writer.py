"""One rendered clip on disk, in the layout of SOR3D-AFF with vidaff's extras.

Source: STCAE release, ``data/dataloader.py`` (names, mask colours, hotspot pixels of a 1920x1080 picture).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidaff.datasets.synthetic.clip import RenderedClip
from vidaff.datasets.taxonomy import AFFORDANCES, MASK_COLOURS
from vidaff.errors import VidaffError

FPS = 10
HOTSPOT_SIZE = (1920, 1080)
WHITE = (255, 255, 255)
# A fixed filter and run lengths only: 2.5 times as fast as OpenCV's default, and smaller on noisy pictures.
_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
)


def write_clip(split_folder: Path, clip: RenderedClip, *, extras: bool) -> Path:
    """Write ``clip`` into ``split_folder`` and return its folder, which appears under its name only when complete.

    ``extras`` adds the exact scene flow. Raises :class:`VidaffError` when the disk is full or not writable.
    """
    final = split_folder / clip.plan.name
    temporary = split_folder / f".{clip.plan.name}.{os.getpid()}.tmp"
    try:
        _write_files(temporary, clip, extras)
        os.replace(temporary, final)
    except OSError as error:
        raise VidaffError(f"cannot write {final}: {error.strerror or error}; free some space and --resume") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _write_files(folder: Path, clip: RenderedClip, extras: bool) -> None:
    for name in ("rgb", "depth", "parts"):
        (folder / name).mkdir(parents=True)
    for number, (rgb, depth, parts) in enumerate(zip(clip.rgb, clip.depth, clip.parts, strict=True), start=1):
        (folder / "rgb" / f"{number:04d}.png").write_bytes(_png(rgb))
        (folder / "depth" / f"{number:04d}.png").write_bytes(_png(depth))
        (folder / "parts" / f"{number:04d}.png").write_bytes(_png(parts))
    _write_labels(folder / "rgb", clip)
    if extras:
        (folder / "flow.npz").write_bytes(_packed(clip.flow))
    (folder / "intrinsics.yaml").write_text(_camera(clip), encoding="utf-8")
    (folder / "parts.json").write_text(json.dumps(part_table(clip), indent=2) + "\n", encoding="utf-8")
    (folder / "clip.json").write_text(json.dumps(_record(clip), indent=2) + "\n", encoding="utf-8")


def _png(image: np.ndarray) -> bytes:
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image, _PNG)
    if not ok:
        raise OSError(f"a picture of {image.shape} {image.dtype} could not be encoded")
    return encoded.tobytes()


def _packed(flow: np.ndarray) -> bytes:
    """An ``.npz`` with the one array ``flow``, compressed fast: most of it is zero."""
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, flow)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        # A fixed date, so that the same clip gives the same bytes.
        file.writestr(zipfile.ZipInfo("flow.npy"), array.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return archive.getvalue()


def label_mask(clip: RenderedClip) -> np.ndarray:
    """(H, W) bool: the part that the clip's action concerns, in its last frame."""
    use = clip.scene.model.uses[clip.plan.action]
    mask: np.ndarray = clip.parts[-1] == clip.scene.model.part_index(use.part) + 1
    return mask


def _write_labels(folder: Path, clip: RenderedClip) -> None:
    """The four extra files, which sort after the frames: mask, two previews that no loader reads, hotspot."""
    mask = label_mask(clip)
    colours = np.array([WHITE, MASK_COLOURS[clip.plan.action]], np.uint8)[mask.astype(np.uint8)]
    overlay = clip.rgb[-1].copy()
    overlay[mask] = overlay[mask] // 2 + colours[mask] // 2
    (folder / "z_1_mask.png").write_bytes(_png(colours))
    (folder / "z_2_overlay.png").write_bytes(_png(overlay))
    (folder / "z_3_parts.png").write_bytes(_png(_coloured_parts(clip)))
    (folder / "z_4_hotspot.json").write_text(json.dumps(_hotspot(mask)) + "\n", encoding="utf-8")


def _coloured_parts(clip: RenderedClip) -> np.ndarray:
    """Every part of the last frame in the colour of its first affordance, grey when it has none."""
    table = np.full((256, 3), WHITE, np.uint8)
    for number, part in enumerate(part_table(clip)["parts"], start=1):
        table[number] = MASK_COLOURS[part["affordances"][0]] if part["affordances"] else (160, 160, 160)
    coloured: np.ndarray = table[clip.parts[-1]]
    return coloured


def _hotspot(mask: np.ndarray) -> dict[str, Any]:
    """Circle at the spot deepest inside the part, in pixels of the official picture size."""
    inside = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    scale = np.array(HOTSPOT_SIZE) / mask.shape[::-1]
    centre = (np.array([x, y]) + 0.5) * scale
    radius = max(10.0, float(inside.max() * scale.min()))
    circle = {"x_coord": int(centre[0]), "y_coord": int(centre[1]), "radius": round(radius, 1)}
    return {"center": [circle]}


def part_table(clip: RenderedClip) -> dict[str, Any]:
    """What ``parts.json`` says: names in the order of the masks' values, and what each part affords."""
    model = clip.scene.model
    parts = [{"name": part.name, "affordances": model.affordances(part.name)} for part in model.parts]
    return {"parts": parts}


def _camera(clip: RenderedClip) -> str:
    camera = clip.scene.camera
    values = {"fx": camera.focal, "fy": camera.focal, "cx": camera.cx, "cy": camera.cy}
    lines = [f"{key}: {value:.6f}" for key, value in values.items()]
    return "\n".join([*lines, f"width: {camera.size}", f"height: {camera.size}", f"fps: {FPS}"]) + "\n"


def _record(clip: RenderedClip) -> dict[str, Any]:
    plan, use = clip.plan, clip.scene.model.uses[clip.plan.action]
    return {
        "seed": plan.seed, "split": plan.split, "index": plan.index, "instance": plan.instance,
        "attempt": clip.attempt, "type": plan.type.name, "object": plan.type.official, "action": plan.action,
        "action_id": AFFORDANCES.index(plan.action), "part": use.part, "subject": plan.subject, "view": plan.view,
        "frames": len(clip.rgb), "size": clip.scene.camera.size, "fps": FPS,
    }  # fmt: skip
