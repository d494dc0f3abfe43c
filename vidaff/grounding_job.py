"""The job behind ``vidaff ground``: pictures and queries in, files out; one heat map in memory at a time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from vidaff.datasets.recording import PICTURES, list_files
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.cameras import on_grid, parse_intrinsics
from vidaff.frames import DEFAULT_VIEW_DEGREES, FrameError, check_depth, default_intrinsics
from vidaff.grasp import Grasps, Ranking, rank, read_grasps, read_pose
from vidaff.grasp.draw import draw_grasps, gripper_points
from vidaff.grasp.ranking import Axis
from vidaff.grounding import AffordanceGrounder, Grounding, read_rgb
from vidaff.io import atomic_path, check_pixels, prepare_output_dir, write_image, write_json
from vidaff.media import open_depth
from vidaff.models.image.text import readable
from vidaff.visualize import INK, blend_heat, draw_text

PEAK_DISTANCE = 1 / 14
"""Least distance of two top points as a share of the picture's longer side: a patch of the network at 224x224."""
NAME_LENGTH = 60


@dataclass(frozen=True)
class GroundSettings:
    """What to ask of which pictures, and what to write.

    images: files, or folders of pictures. queries: words. checkpoint, text_model, tokenizer, template, device,
    precision: see :meth:`vidaff.AffordanceGrounder.from_pretrained`. out: folder, must be new or empty unless
    ``overwrite``. level: pixels whose heat is at least this share of the peak's make the mask. points: how many top
    points are told. raw: form of the raw map. grasps, pose: files of :func:`vidaff.grasp.read_grasps` and
    ``read_pose``. approach, reach: see :func:`vidaff.grasp.rank`. depth: picture or .npy on the image's grid, with
    ``depth_scale`` units per metre (None: integers are millimetres, floats metres). intrinsics: "fx,fy,cx,cy" in
    pixels, or a YAML file.
    """

    images: Sequence[str]
    queries: Sequence[str]
    checkpoint: str
    out: Path
    text_model: str | None = None
    tokenizer: str | None = None
    template: str | None = None
    level: float = 0.5
    points: int = 5
    raw: Literal["npy", "png", "none"] = "npy"
    grasps: str | None = None
    pose: str | None = None
    approach: Axis = "x"
    reach: float = 0.0
    depth: str | None = None
    depth_scale: float | None = None
    intrinsics: str | None = None
    device: str = "auto"
    precision: str = "auto"
    overwrite: bool = False


class GroundJob:
    """One run. Construction checks all that can be checked before the first picture.

    ``notes`` say, for the user, what had to be assumed. Raises :class:`VidaffError` for bad input.
    """

    def __init__(self, settings: GroundSettings) -> None:
        self.settings = settings
        self.queries = _queries(settings.queries)
        self.images = _pictures(settings.images)
        in_space = [name for name in ("grasps", "depth") if getattr(settings, name) is not None]
        if in_space and len(self.images) != 1:
            raise VidaffError(f"--{in_space[0]} belongs to one picture, {len(self.images)} were given")
        if settings.pose is not None and settings.grasps is None:
            raise VidaffError("--pose is that of --grasps, which is missing")
        self.grasps: Grasps | None = None if settings.grasps is None else read_grasps(settings.grasps)
        self.pose = None if settings.pose is None else read_pose(settings.pose)
        self.camera = None if settings.intrinsics is None else parse_intrinsics(settings.intrinsics)
        self.metres = None if settings.depth is None else self._depth(settings.depth)
        self.grounder = AffordanceGrounder.from_pretrained(
            settings.checkpoint,
            text_model=settings.text_model,
            tokenizer=settings.tokenizer,
            template=settings.template,
            device=settings.device,
            precision=settings.precision,
        )
        self.words = self.grounder.words.look_up(self.queries)  # fails now rather than after the first pictures
        self.notes = self._notes(bool(in_space))
        self.out = prepare_output_dir(settings.out, overwrite=settings.overwrite)

    def run(self) -> Iterator[dict[str, Any]]:
        """Answer every query on every picture; yield the record of each answer, which is also in its ``.json``.

        Raises:
            VidaffError: a picture cannot be read, or does not fit the depth; what was done before it is kept.
        """
        names = unique_names([path.stem for path in self.images])
        files = unique_names(self.queries, endings=("_mask", "_heat"))
        for path, name in zip(self.images, names, strict=True):
            rgb = read_rgb(path)
            seen = self.grounder.look(rgb)
            for file, answer in zip(files, self.grounder.ask(seen, self.queries), strict=True):
                yield self._write(path, rgb, answer, self.out / name / file)

    def _write(self, path: Path, rgb: np.ndarray, answer: Grounding, stem: Path) -> dict[str, Any]:
        settings, heat = self.settings, answer.heatmap
        peak = float(heat.max())
        share = heat / np.float32(peak)
        mask = share >= settings.level
        points = top_points(heat, settings.points)
        ranking, camera = self._ranked(heat)
        picture = overlay(rgb, share, mask, points, caption(answer))
        if ranking is not None:
            picture = draw_grasps(picture, ranking, camera, approach=settings.approach, reach=settings.reach)
        write_image(_named(stem, ".png"), picture)
        write_image(_named(stem, "_mask.png"), mask.astype(np.uint8) * 255)
        record = {
            "image": str(path), "size": [rgb.shape[1], rgb.shape[0]], **describe(answer), "peak": peak,
            "level": settings.level, "mask_share": float(mask.mean()), "points": points, "raw": settings.raw,
        }  # fmt: skip
        self._write_raw(stem, heat, share)
        if ranking is not None:
            record["grasps"] = ranking.to_list()
        if self.metres is not None:
            self._write_cloud(stem, self.metres, blend_heat(rgb, share), share, camera, ranking)
        write_json(_named(stem, ".json"), record)
        return record

    def _write_raw(self, stem: Path, heat: np.ndarray, share: np.ndarray) -> None:
        if self.settings.raw == "npy":
            with atomic_path(_named(stem, ".npy")) as temporary:
                np.save(temporary, heat, allow_pickle=False)
        elif self.settings.raw == "png":
            write_image(_named(stem, "_heat.png"), np.rint(share * 65535).astype(np.uint16))

    def _ranked(self, heat: np.ndarray) -> tuple[Ranking | None, Intrinsics]:
        settings = self.settings
        size = (heat.shape[0], heat.shape[1])
        camera = default_intrinsics(*size) if self.camera is None else on_grid(self.camera, size)
        if self.grasps is None:
            return None, camera
        try:
            return rank(
                heat, self.grasps, camera, self.pose, approach=settings.approach, reach=settings.reach
            ), camera  # fmt: skip
        except ValueError as error:
            raise VidaffError(f"{settings.grasps}: {error}") from error

    def _write_cloud(
        self,
        stem: Path,
        metres: np.ndarray,
        colours: np.ndarray,
        share: np.ndarray,
        camera: Intrinsics,
        ranking: Ranking | None,
    ) -> None:
        cloud = picture_points(metres, colours, share, camera)
        if ranking is not None:
            grippers = gripper_points(ranking, approach=self.settings.approach, reach=self.settings.reach)
            cloud = tuple(np.concatenate(pair) for pair in zip(cloud, grippers, strict=True))  # type: ignore[assignment]
        if len(cloud[0]):  # Open3D refuses to write empty clouds
            write_cloud(_named(stem, ".ply"), *cloud)

    def _depth(self, path: str) -> np.ndarray:
        """Depth (H, W) metres on the grid of the only picture."""
        rgb = read_rgb(self.images[0])
        try:
            return check_depth(read_depth(path, self.settings.depth_scale), (rgb.shape[0], rgb.shape[1]))
        except FrameError as error:
            raise VidaffError(f"{path}: {error}") from error

    def _notes(self, in_space: bool) -> list[str]:
        warning = self.grounder.words.check_tower()
        notes = [] if warning is None else [warning]
        if in_space and self.camera is None:
            notes.append(f"no --intrinsics: a {DEFAULT_VIEW_DEGREES:g}-degree horizontal field of view is assumed")
        if self.grasps is not None and not len(self.grasps):
            notes.append(f"{self.settings.grasps}: holds no grasps")
        if any(word.origin == "spelling" for word in self.words):
            notes.append("the checkpoint's text features know spelling, not meaning: synonyms are not understood")
        return notes


def describe(answer: Grounding) -> dict[str, Any]:
    """What is told of a query: its text, whether it is known, the nearest known affordance and their cosine."""
    word = answer.word
    similarity = None if word.similarity is None else round(word.similarity, 4)
    known = {"known": word.known, "nearest": word.nearest, "similarity": similarity}
    return {"query": word.text, **known, "text_feature": word.origin}


def caption(answer: Grounding) -> str:
    """``hold``, or ``grab (unknown, nearest: hold 0.83)``."""
    word = answer.word
    if word.known or word.nearest is None:
        return word.text
    return f"{word.text} (unknown, nearest: {readable(word.nearest)} {word.similarity:.2f})"


def top_points(heat: np.ndarray, count: int) -> list[dict[str, float]]:
    """The ``count`` highest pixels of a map (H, W), each at least a patch away from the others, highest first.

    Returns x, y (pixels) and ``heat``, the share of the peak. Fewer come back when the map is covered.
    """
    left = heat.astype(np.float32, copy=True)
    radius = max(1, round(PEAK_DISTANCE * max(heat.shape)))
    points: list[dict[str, float]] = []
    peak = float(left.max())
    while len(points) < count:
        row, column = (int(index) for index in np.unravel_index(int(left.argmax()), left.shape))
        if left[row, column] < 0:
            break
        share = float(left[row, column]) / peak if peak > 0 else 0.0
        points.append({"x": column, "y": row, "heat": round(share, 6)})
        cv2.circle(left, (column, row), radius, -1.0, thickness=-1)
    return points


def overlay(
    rgb: np.ndarray, share: np.ndarray, mask: np.ndarray, points: Sequence[dict[str, float]], text: str
) -> np.ndarray:
    """The picture with its heat, the mask's outline, the top points with their numbers, and the query."""
    picture = blend_heat(rgb, share)
    unit = max(1, round(min(rgb.shape[:2]) / 400))
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, outlines, -1, INK, unit, cv2.LINE_AA)
    if min(rgb.shape[:2]) < 96:
        return picture
    for number, point in enumerate(points, start=1):
        x, y = int(point["x"]), int(point["y"])
        cv2.circle(picture, (x, y), 4 * unit, INK, unit, cv2.LINE_AA)
        draw_text(picture, str(number), (x + 6 * unit, y - 7 * unit), size=11 * unit)
    draw_text(picture, text, (6 * unit, 5 * unit), size=14 * unit, bold=True)
    return picture


def read_depth(path: str, scale: float | None) -> np.ndarray:
    """Depth (H, W) of one picture, as stored, or metres (float32) with ``scale`` units per metre.

    A 16-bit picture, or ``.npy`` with (H, W) or (1, H, W); raise :class:`VidaffError` for anything else.
    """
    if Path(path).suffix.lower() == ".npy" and Path(path).is_file():
        depth = _read_depth_array(Path(path))
    else:
        with open_depth(path) as source:
            if len(source) != 1:
                raise VidaffError(f"{path}: depth of one picture is needed, got {len(source)}")
            depth = source.read(0)
    return depth if scale is None else depth.astype(np.float32) / np.float32(scale)


def _read_depth_array(path: Path) -> np.ndarray:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError) as error:
        raise VidaffError(f"{path}: not readable as a NumPy array ({error})") from error
    shape = mapped.shape[1:] if mapped.ndim == 3 and len(mapped) == 1 else mapped.shape
    if len(shape) != 2 or mapped.dtype.kind not in "iuf" or not mapped.size:
        raise VidaffError(f"{path}: depth is (H, W) integers or floats, got {mapped.dtype} {mapped.shape}")
    check_pixels(path, shape[1], shape[0])
    return np.array(mapped).reshape(shape)


def picture_points(
    metres: np.ndarray, colours: np.ndarray, share: np.ndarray, camera: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (M, 3) metres, colours (M, 3) uint8 and heat (M,) of the pixels whose depth is known."""
    rows, columns = np.nonzero(metres > 0)
    z = metres[rows, columns].astype(np.float64)
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    return np.stack([x, y, z], axis=1), colours[rows, columns], share[rows, columns]


def write_cloud(path: Path, positions: np.ndarray, colours: np.ndarray, heat: np.ndarray) -> None:
    """Write a PLY with colours and the scalar ``heat``: (M, 3) metres, (M, 3) uint8, (M,)."""
    import open3d as o3d

    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor.from_numpy(positions.astype(np.float32)))
    cloud.point.colors = o3d.core.Tensor.from_numpy(np.ascontiguousarray(colours))
    cloud.point.heat = o3d.core.Tensor.from_numpy(np.ascontiguousarray(heat[:, None].astype(np.float32)))
    with atomic_path(path) as temporary:
        if not o3d.t.io.write_point_cloud(temporary, cloud):
            raise VidaffError(f"{path}: the point cloud could not be written; is the disk full?")


def unique_names(names: Sequence[str], *, endings: Sequence[str] = ()) -> list[str]:
    """Names fit for files, in order, each once: ``Cut with!`` -> ``Cut_with``; a second one becomes ``Cut_with-2``.

    ``endings`` are put behind names: ``hold mask`` must not be called ``hold_mask`` beside the mask of ``hold``.
    """
    taken: set[str] = set()
    made = []
    for name in names:
        plain = re.sub(r"\W+", "_", name).strip("_")[:NAME_LENGTH] or "picture"
        if any(plain.lower().endswith(ending) for ending in endings):
            plain = f"{plain}-1"
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        chosen = next(one for one in numbered if one.lower() not in taken)
        taken.add(chosen.lower())
        made.append(chosen)
    return made


def _named(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _queries(queries: Sequence[str]) -> list[str]:
    """Readable queries, each once, in order."""
    try:
        return list(dict.fromkeys(readable(query) for query in queries))
    except ValueError as error:
        raise VidaffError(f"--query: {error}") from error


def _pictures(images: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for image in images:
        path = Path(image)
        if not path.exists():
            raise VidaffError(f"{path}: no such file or folder")
        inside = [file for file in list_files(path) if file.suffix.lower() in PICTURES] if path.is_dir() else [path]
        if not inside:
            raise VidaffError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
        found += inside
    return found
