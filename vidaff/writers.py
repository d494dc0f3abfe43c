"""What ``vidaff infer`` writes, one context manager per kind of output.

Each yields a function that takes one :class:`Segmented` frame. Nothing half-written keeps its final name: pictures,
point clouds and arrays are written one by one through temporary names, video and timeline take theirs when they are
closed in order.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.taxonomies import Taxonomy, disk_ids
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.frames import check_depth
from vidaff.io import atomic_path, write_image
from vidaff.predict import FrameResult
from vidaff.visualize import OverlayPainter, blend_labels

OUTPUTS = ("overlay.mp4", "overlay.png", "timeline.csv", "labels", "probs", "ply")
"""Everything an inference run may leave in its folder."""


@dataclass(frozen=True)
class Segmented:
    """One processed frame.

    number: 1-based, names the files. source_frame: 0-based position in the source. time: seconds. rgb (H, W, 3)
    uint8. depth (H, W) or None. ms: milliseconds that depth estimation, flow and network took together.
    """

    number: int
    source_frame: int
    time: float
    rgb: np.ndarray
    depth: np.ndarray | None
    result: FrameResult
    ms: float

    def file(self, folder: Path, suffix: str) -> Path:
        """``folder/000001.png`` and alike."""
        return folder / f"{self.number:06d}{suffix}"


Write = Callable[[Segmented], None]


def clear_outputs(out: Path) -> None:
    """Remove what an earlier run left in ``out``; files of other names stay."""
    for name in OUTPUTS:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def overlay_video(path: Path, fps: float, painter: OverlayPainter) -> Iterator[Write]:
    """MP4 with the painted picture, legend, action bar and attention."""
    from vidaff.media import VideoWriter

    with VideoWriter(path, fps, painter.size) as video:
        yield lambda frame: video.write(paint(painter, frame))


@contextmanager
def overlay_picture(path: Path, painter: OverlayPainter) -> Iterator[Write]:
    """The same as a PNG, for a single picture."""
    yield lambda frame: write_image(path, paint(painter, frame))


def paint(painter: OverlayPainter, frame: Segmented) -> np.ndarray:
    """The overlay of one frame, ``painter.size`` RGB uint8."""
    result = frame.result
    return painter.paint(
        frame.rgb,
        result.labels,
        result.action_probs,
        confidence=result.confidence,
        attention=result.attention,
        note=f"frame {frame.number}   {frame.time:.2f} s   {frame.ms:.0f} ms",
    )


@contextmanager
def label_pictures(folder: Path, taxonomy: Taxonomy) -> Iterator[Write]:
    """8-bit PNGs of class ids at the source's size, numbered as the data set of the classes does on disk.

    SOR3D-AFF: 0..8 affordances, 9 background. UMD and IIT-AFF: 0 background, affordances from 1.
    """
    table = disk_ids(taxonomy)
    yield lambda frame: write_image(frame.file(folder, ".png"), table[frame.result.labels])


@contextmanager
def probability_files(folder: Path) -> Iterator[Write]:
    """NPZ per frame: probs (K + 1, h, w) float16 at the model's size, action_probs (A,), attention if there is one."""

    def write(frame: Segmented) -> None:
        result = frame.result
        arrays: dict[str, Any] = {"probs": result.probs.astype(np.float16), "action_probs": result.action_probs}
        if result.attention is not None:
            arrays["attention"] = result.attention.astype(np.float16)
        with atomic_path(frame.file(folder, ".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    yield write


@contextmanager
def timeline(path: Path, taxonomy: Taxonomy) -> Iterator[Write]:
    """CSV, a line per frame: numbers, time, action and its probability, share of pixels per class, milliseconds.

    The action is empty where the model tells none.
    """
    classes = taxonomy.classes
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "source_frame", "time_s", "action", "action_prob", *classes, "ms"])

        def write(frame: Segmented) -> None:
            labels, probs = frame.result.labels, frame.result.action_probs
            shares = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)] / labels.size
            prob = f"{probs.max():.4f}" if probs.size else ""
            head = [frame.number, frame.source_frame, f"{frame.time:.3f}", frame.result.action, prob]
            table.writerow([*head, *(f"{share:.5f}" for share in shares), f"{frame.ms:.1f}"])

        yield write


@contextmanager
def point_clouds(folder: Path, camera: Intrinsics, threshold: float, taxonomy: Taxonomy) -> Iterator[Write]:
    """PLY per frame through Open3D: positions in metres (X right, Y down, Z away), painted colours, class ids."""
    table = disk_ids(taxonomy)

    def write(frame: Segmented) -> None:
        if frame.depth is None:
            raise VidaffError(f"frame {frame.source_frame + 1}: no depth, so no point cloud; leave --ply out")
        result = frame.result
        metres = check_depth(frame.depth, result.labels.shape)
        if not (metres > 0).any():
            return  # a frame without any depth is no reason to stop; Open3D refuses to write empty clouds
        colours = blend_labels(
            frame.rgb, result.labels, confidence=result.confidence, threshold=threshold, outline=False,
            taxonomy=taxonomy,
        )  # fmt: skip
        with atomic_path(frame.file(folder, ".ply")) as temporary:
            _write_cloud(temporary, metres, colours, table[result.labels], camera)

    yield write


def _write_cloud(path: Path, metres: np.ndarray, colours: np.ndarray, labels: np.ndarray, camera: Intrinsics) -> None:
    import open3d as o3d

    known = metres > 0
    rows, columns = np.nonzero(known)
    z = metres[known]
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    positions = np.stack([x, y, z], axis=1).astype(np.float32)
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor.from_numpy(positions))
    cloud.point.colors = o3d.core.Tensor.from_numpy(colours[known])
    cloud.point.label = o3d.core.Tensor.from_numpy(np.ascontiguousarray(labels[known][:, None]))
    if not o3d.t.io.write_point_cloud(path, cloud):
        raise VidaffError(f"{path.parent}: the point cloud could not be written; is the disk full?")
