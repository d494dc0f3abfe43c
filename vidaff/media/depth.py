"""Depth pictures from folders, single pictures, NumPy arrays and HDF5 files, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidaff.datasets.recording import PICTURES, list_files
from vidaff.errors import VidaffError
from vidaff.io import check_pixels, read_depth_image
from vidaff.media.closing import Closing
from vidaff.media.frames import FrameSource, Size


class DepthSource(Closing):
    """Depth pictures (H, W), read one at a time: uint16 as stored (millimetres as a rule), or floats.

    ``len()`` is their number, ``read(i)`` one of them; ``size`` is (height, width), ``dtype`` their type.
    """

    def __init__(self, name: str, length: int, read: Callable[[int], np.ndarray], file: Any = None) -> None:
        if length < 1:
            raise VidaffError(f"{name}: holds no depth frames")
        self.name = name
        self._length = length
        self._read = read
        self._file = file
        first = read(0)
        self.size: Size = first.shape
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Depth of frame ``index``; raise :class:`VidaffError` when it cannot be read or has another size."""
        if not 0 <= index < self._length:
            raise VidaffError(f"{self.name}: has {self._length} depth frames, frame {index + 1} was asked for")
        depth = self._read(index)
        if depth.shape != self.size:
            raise VidaffError(f"{self.name}: depth frame {index + 1} is {depth.shape}, the first one {self.size}")
        return depth

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.read(index) for index in range(self._length))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def open_depth(source: str | Path) -> DepthSource:
    """Open a folder of 16-bit PNG or PGM (natural order), one such picture, or an array (T, H, W) in .npy or HDF5.

    Arrays are mapped, not loaded; pickled ones are refused. ``file.h5::name`` names the data set of an HDF5 file that
    holds several. Raises :class:`VidaffError` for anything that cannot be read as depth.
    """
    text, _, key = str(source).partition("::")
    path = Path(text)
    if path.is_dir():
        pictures = [file for file in list_files(path) if file.suffix.lower() in PICTURES]
        return DepthSource(text, len(pictures), lambda index: read_depth_image(pictures[index]))
    if not path.is_file():
        raise VidaffError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _array_depth(text, _map_npy(path), again=lambda: _map_npy(path))
    if suffix in (".h5", ".hdf5"):
        return _hdf5_depth(path, key)
    if suffix in PICTURES:
        return DepthSource(text, 1, lambda index: read_depth_image(path))
    raise VidaffError(f"{path}: depth is read from folders of 16-bit PNG or PGM, .npy and .h5; videos lose it")


def _map_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise VidaffError(f"{path}: not readable as a NumPy array ({error})") from error


def _hdf5_depth(path: Path, key: str) -> DepthSource:
    import h5py

    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise VidaffError(f"{path}: not a readable HDF5 file, or truncated") from error
    try:
        names = [key] if key else [name for name, item in file.items() if getattr(item, "ndim", 0) == 3]
        if len(names) != 1 or not isinstance(file.get(names[0]), h5py.Dataset):
            raise VidaffError(f"{path}: name its depth data set as {path.name}::NAME; it holds: {', '.join(file)}")
        return _array_depth(f"{path}::{names[0]}", file[names[0]], file)
    except VidaffError:
        file.close()
        raise


def _array_depth(name: str, array: Any, file: Any = None, *, again: Callable[[], Any] | None = None) -> DepthSource:
    """Depth from an array (T, H, W) of numbers that is read frame by frame.

    ``again`` opens the array anew for every frame: one mapping kept open would keep all pages that it has shown.
    """
    if array.ndim != 3 or array.dtype.kind not in "iuf" or 0 in array.shape:
        raise VidaffError(f"{name}: depth is (T, H, W) integers or floats, got {array.dtype} {array.shape}")
    check_pixels(name, array.shape[2], array.shape[1])

    def read(index: int) -> np.ndarray:
        try:
            return np.array(array[index] if again is None else again()[index])
        except (OSError, RuntimeError) as error:
            raise VidaffError(f"{name}: depth frame {index + 1} cannot be read ({error})") from error

    return DepthSource(name, len(array), read, file)


def paired(frames: FrameSource, depth: DepthSource) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames with their depth; raise :class:`VidaffError` when sizes or numbers differ, at the latest at the end."""
    if frames.size != depth.size:
        (rows, columns), (height, width) = depth.size, frames.size
        raise VidaffError(f"{depth.name}: depth is {columns}x{rows}, the frames {width}x{height} pixels")
    count = 0
    for count, rgb in enumerate(frames, start=1):
        yield rgb, depth.read(count - 1)
    if count != len(depth):
        raise VidaffError(f"{depth.name}: {len(depth)} depth frames for {count} frames of {frames.name}")
