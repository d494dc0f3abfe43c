"""Grasp candidates: what planners write, read without running anything, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from vidaff.errors import VidaffError, first_line
from vidaff.io import read_json

MAX_GRASPS = 1_000_000
MAX_BYTES = 256 * 2**20
MAX_METRES = 1000.0
"""Positions beyond are taken for millimetres, or for damage."""
GRASPNET_COLUMNS = 17
"""GraspNet's row: score, width, height, depth, rotation (9, row by row), position (3), object."""
_SKEW = 0.02
"""Largest entry of ``R R^T - 1`` that still counts as rounding."""


@dataclass(frozen=True)
class Grasps:
    """Grasp candidates in one frame.

    positions: (N, 3) float64 metres. rotations: (N, 3, 3) float64, columns are the gripper's axes. scores: (N,), the
    planner's own, higher is better; None where it gives none. widths: (N,) metres between the fingers, or None.
    """

    positions: np.ndarray
    rotations: np.ndarray
    scores: np.ndarray | None = None
    widths: np.ndarray | None = None

    def __post_init__(self) -> None:
        positions, rotations = _numbers(self.positions, "positions"), _numbers(self.rotations, "rotations")
        count = len(positions) if positions.ndim else 0
        if positions.shape != (count, 3):
            raise ValueError(f"positions: must be (N, 3), got {positions.shape}")
        if rotations.shape != (count, 3, 3):
            raise ValueError(f"rotations: must be ({count}, 3, 3), got {rotations.shape}")
        if count > MAX_GRASPS:
            raise ValueError(f"positions: {count} grasps, more than {MAX_GRASPS} are refused")
        if count and np.abs(positions).max() > MAX_METRES:
            raise ValueError(f"positions: beyond {MAX_METRES:g} m; they must be metres, not millimetres")
        check_rotations(rotations, "rotations")
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "rotations", rotations)
        for name in ("scores", "widths"):
            self._check_column(name, count)

    def _check_column(self, name: str, count: int) -> None:
        if getattr(self, name) is None:
            return
        values = _numbers(getattr(self, name), name)
        if values.shape != (count,):
            raise ValueError(f"{name}: must be ({count},), got {values.shape}")
        if name == "widths" and count and (values.min() < 0 or values.max() > 1):
            raise ValueError("widths: must be 0 to 1 metre")
        object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.positions)

    def moved(self, pose: np.ndarray) -> Grasps:
        """The same grasps in the frame that ``pose`` (4, 4) leads to."""
        rotation, shift = pose[:3, :3], pose[:3, 3]
        return Grasps(self.positions @ rotation.T + shift, rotation @ self.rotations, self.scores, self.widths)


def as_grasps(value: Any, name: str = "grasps") -> Grasps:
    """Grasps of :class:`Grasps`, or of one of the arrays that planners write.

    Args:
        value: (N, 17), the rows of GraspNet; or (N, 4, 4) or (N, 3, 4), poses of the gripper; one pose alone, too.
        name: for messages.

    Raises:
        ValueError: another shape, numbers that are not finite, rotations that are none.
    """
    if isinstance(value, Grasps):
        return value
    array = _numbers(value, name)
    if array.ndim == 2 and array.shape[1] == GRASPNET_COLUMNS:
        return _from_graspnet(array)
    if array.shape in ((4, 4), (3, 4)):
        array = array[None]
    if array.ndim != 3 or array.shape[1:] not in ((4, 4), (3, 4)):
        raise ValueError(
            f"{name}: must be (N, {GRASPNET_COLUMNS}) rows of GraspNet, or poses (N, 4, 4) or (N, 3, 4), "
            f"got {array.shape}"
        )
    if array.shape[1] == 4 and np.abs(array[:, 3] - [0, 0, 0, 1]).max(initial=0) > 1e-6:
        raise ValueError(f"{name}: the last row of a pose must be 0 0 0 1")
    return Grasps(array[:, :3, 3], array[:, :3, :3])


def as_pose(value: Any, name: str = "pose") -> np.ndarray:
    """A rigid motion (4, 4) float64 of an array (4, 4) or (3, 4); raise :class:`ValueError` for anything else."""
    array = _numbers(value, name)
    if array.shape == (3, 4):
        array = np.vstack([array, [0, 0, 0, 1]])
    if array.shape != (4, 4) or np.abs(array[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{name}: must be (4, 4) with the last row 0 0 0 1, or (3, 4), got {array.shape}")
    check_rotations(array[None, :3, :3], name)
    return array


def check_rotations(rotations: np.ndarray, name: str) -> None:
    """Raise :class:`ValueError` unless each (3, 3) is orthonormal and right-handed, up to rounding."""
    if not len(rotations):
        return
    skew = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    wrong = (skew > _SKEW) | (np.linalg.det(rotations) < 0)
    if wrong.any():
        raise ValueError(f"{name}: number {int(wrong.argmax()) + 1} is no rotation matrix (orthonormal, right-handed)")


def read_grasps(path: str | Path) -> Grasps:
    """Read grasps from ``.npy`` (the arrays of :func:`as_grasps`) or ``.json``.

    JSON: a list, or an object with a list ``grasps``, of objects with ``position`` (3, metres) and ``rotation`` (3x3),
    or ``pose`` (4x4); ``score`` and ``width`` (metres) may follow, in all of them or in none.

    Raises:
        VidaffError: missing, larger than 256 MiB, pickled, or not grasps.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            return _from_json(read_json(path))
        return as_grasps(_read_npy(path), "array")
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        raise VidaffError(f"{path}: {where + ': ' if where else ''}{found['msg']}") from error
    except ValueError as error:
        raise VidaffError(f"{path}: {first_line(error)}") from error


def read_pose(path: str | Path) -> np.ndarray:
    """Read a rigid motion (4, 4) from ``.npy``, or ``.json`` (rows of numbers); raise :class:`VidaffError`."""
    path = Path(path)
    try:
        return as_pose(read_json(path) if path.suffix.lower() == ".json" else _read_npy(path))
    except ValueError as error:
        raise VidaffError(f"{path}: {first_line(error)}") from error


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise VidaffError(f"{path}: no such file")
    if path.suffix.lower() != ".npy":
        raise VidaffError(f"{path}: .npy or .json is read, got {path.suffix or 'no suffix'}")
    if path.stat().st_size > MAX_BYTES:
        raise VidaffError(f"{path}: larger than {MAX_BYTES >> 20} MiB, refused")
    try:
        # Mapped first: a header that promises more than the file holds must not be believed with memory.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(mapped)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError) as error:
        raise VidaffError(f"{path}: not readable as a plain NumPy array ({first_line(error)})") from error


def _from_graspnet(rows: np.ndarray) -> Grasps:
    return Grasps(rows[:, 13:16], rows[:, 4:13].reshape(-1, 3, 3), rows[:, 0], rows[:, 1])


def _numbers(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: rows of different lengths") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: must be numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds numbers that are not finite")
    return array


Three = Annotated[list[float], Field(min_length=3, max_length=3)]
Four = Annotated[list[float], Field(min_length=4, max_length=4)]


class _JsonGrasp(BaseModel):
    """One grasp of a JSON file. Other keys (names, identifiers) are left alone."""

    model_config = ConfigDict(allow_inf_nan=False, extra="ignore")

    position: Three | None = None
    rotation: Annotated[list[Three], Field(min_length=3, max_length=3)] | None = None
    pose: Annotated[list[Four], Field(min_length=4, max_length=4)] | None = None
    score: float | None = None
    width: float | None = None

    @model_validator(mode="after")
    def _placed(self) -> _JsonGrasp:
        if (self.pose is None) == (self.position is None or self.rotation is None):
            raise ValueError("position (3 numbers) and rotation (3x3) are needed, or pose (4x4)")
        return self

    def matrix(self) -> np.ndarray:
        if self.pose is not None:
            return np.array(self.pose)
        return np.vstack([np.column_stack([np.array(self.rotation), np.array(self.position)]), [0, 0, 0, 1]])


_JSON_GRASPS = TypeAdapter(Annotated[list[_JsonGrasp], Field(max_length=MAX_GRASPS)])


def _from_json(content: Any) -> Grasps:
    if isinstance(content, dict):
        content = content.get("grasps")
    read = _JSON_GRASPS.validate_python(content)
    poses = as_grasps(np.array([grasp.matrix() for grasp in read]).reshape(-1, 4, 4))
    columns = {}
    for name in ("score", "width"):
        values = [getattr(grasp, name) for grasp in read]
        given = [value for value in values if value is not None]
        if given and len(given) != len(values):
            raise ValueError(f"{name}: given for {len(given)} of {len(values)} grasps; give it for all or for none")
        columns[name] = np.array(given) if given else None
    return Grasps(poses.positions, poses.rotations, columns["score"], columns["width"])
