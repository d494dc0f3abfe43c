"""Pixels of one recording, brought to the clip's grid."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from vidaff.datasets.calibration import KINECT_V2_DEPTH, KINECT_V2_DEPTH_SIZE, Camera
from vidaff.datasets.geometry import Geometry, Size, Window, map_colours, map_labels, same_aspect
from vidaff.datasets.masks import decode_labels, decode_mask
from vidaff.datasets.recording import Recording
from vidaff.datasets.taxonomy import BACKGROUND, IGNORE, affordance_id
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.store import INVALID
from vidaff.io import read_depth_image, read_image, read_json, read_label_image

MAX_PARTS = 254


class RecordingReader:
    """Reads colours, depth, labels and flow of a :class:`Recording` on one grid.

    The *recorded grid* is the one all pixels are brought to before the window is cut: that of the colour frames,
    or of the depth frames with geometry ``aligned``. The first frame that is read fixes it; a frame of another size
    is an error. Read frames before anything else.
    """

    def __init__(self, recording: Recording, geometry: Geometry, *, scaled_depth: bool = False) -> None:
        if geometry.mode == "aligned" and recording.depth is None:
            raise VidaffError(f"{recording.folder}: geometry 'aligned' needs a depth/ folder")
        self.recording = recording
        self.geometry = geometry
        self.scaled_depth = scaled_depth
        self._recorded: Size | None = None

    def frames(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Colours (T, H, W, 3) uint8 and depth (T, H, W) uint16 mm, ``None`` without depth, of these frames."""
        pairs = [self._frame(number) for number in numbers]
        depths = [depth for _, depth in pairs if depth is not None]
        return np.stack([colours for colours, _ in pairs]), np.stack(depths) if depths else None

    def _frame(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        path = self.recording.frames[number]
        colours, depth = read_image(path), self._depth(number)
        if depth is not None:
            colours, depth = self._one_grid(colours, depth, path)
        window = self._window(_size(colours), path)
        return window.colours(colours), None if depth is None else window.nearest(depth)

    def _depth(self, number: int) -> np.ndarray | None:
        """Depth (H, W) uint16 mm of a frame as recorded, or ``None`` when the recording has none."""
        folder = self.recording.depth
        return None if folder is None else read_depth_image(self.recording.beside(folder, number))

    def _one_grid(self, colours: np.ndarray, depth: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Bring colours to the depth grid (``aligned``) or insist that both are on one grid already."""
        if colours.shape[:2] == depth.shape:
            return colours, depth
        if self.geometry.calibration is not None:
            with _named(path):
                return map_colours(colours, depth, self.geometry.calibration), depth
        if self.scaled_depth and same_aspect(_size(colours), _size(depth)):
            return colours, cv2.resize(depth, _size(colours)[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        raise VidaffError(
            f"{path}: the picture is {_text(_size(colours))}, its depth {_text(_size(depth))}; "
            "map the colours to the depth grid with --geometry aligned --calibration FILE"
        )

    def _window(self, recorded: Size, path: Path) -> Window:
        """Window into the recorded grid; a frame that changes size is an error."""
        if self._recorded is None:
            self._recorded = recorded
        if recorded != self._recorded:
            raise VidaffError(f"{path}: {_text(recorded)} pixels, the frames before it had {_text(self._recorded)}")
        return self.geometry.window(recorded, str(path))

    def mask(self, action: int | None, *, black_is_ignore: bool = False) -> np.ndarray | None:
        """Label picture (H, W) uint8 of the last frame, decoded before it is resized; ``None`` without a mask.

        A grey picture holds class ids; a colour one the colours of the affordances, of which only ``action`` is
        foreground (``None``: all of them).
        """
        path = self.recording.mask
        if path is None:
            return None
        picture = read_label_image(path)
        if picture.ndim == 3:
            labels = decode_mask(picture, action, black_is_ignore=black_is_ignore, where=str(path))
        else:
            labels = decode_labels(picture, where=str(path))
        return self._place(labels, path, missing=IGNORE if black_is_ignore else BACKGROUND)

    def affordances(self) -> np.ndarray | None:
        """(H, W) uint16 of the last frame, bit k set where the part affords class k; ``None`` without part masks."""
        folder = self.recording.parts
        if folder is None:
            return None
        path = self.recording.beside(folder, len(self.recording.frames) - 1)
        parts = read_label_image(path)
        table = part_table(self.recording.folder / "parts.json")
        if parts.ndim != 2 or parts.max() >= table.size or not table.size:
            raise VidaffError(f"{path}: grey values 0..{table.size - 1} are expected (part index + 1, 0 = no part)")
        return table[self._place(parts, path, missing=0)]

    def _place(self, labels: np.ndarray, path: Path, *, missing: int) -> np.ndarray:
        """Labels (h, w) of the last frame, on the colour or the recorded grid -> (H, W) on the clip's grid."""
        recorded = self._recorded or _size(read_image(self.recording.frames[-1]))
        calibration = self.geometry.calibration
        if _size(labels) != recorded and calibration is not None:
            depth = self._depth(len(self.recording.frames) - 1)
            assert depth is not None  # geometry 'aligned' refuses recordings without depth
            with _named(path):
                labels = map_labels(labels, depth, calibration, missing=missing)
        if _size(labels) != recorded:
            raise VidaffError(f"{path}: {_text(_size(labels))} pixels, the frames have {_text(recorded)}")
        return self.geometry.window(recorded, str(path)).nearest(labels)

    def flow(self, wanted: list[int], picked: list[int]) -> np.ndarray:
        """Stored exact scene flow (T, H, W, 3) int16 of the ``wanted`` frames; zero for the clip's first frame.

        Raises :class:`VidaffError` when frames between were left out: motions of single steps do not add up per
        pixel.
        """
        source = self.recording.flow
        if source is None:
            raise VidaffError(f"{self.recording.folder}: has no stored flow; use --flow dis to compute it")
        if picked != list(range(picked[0], picked[-1] + 1)):
            raise VidaffError(
                f"{self.recording.folder}: exact flow joins neighbouring frames, but frames are left out at this "
                "fps; ask for the recorded fps or compute the flow"
            )
        packed = self._packed_flow(source, wanted)
        if picked[0] in wanted:
            first = packed[wanted.index(picked[0])]
            first[(first != INVALID).all(axis=-1)] = 0
        return packed

    def _packed_flow(self, source: Path, wanted: list[int]) -> np.ndarray:
        if source.is_file():
            whole = load_flow(source, 4)
            if len(whole) != len(self.recording.frames):
                raise VidaffError(f"{source}: flow of {len(whole)} frames, rgb/ has {len(self.recording.frames)}")
            fields = [whole[number] for number in wanted]
        else:
            fields = [load_flow(self.recording.beside(source, number, (".npz",)), 3) for number in wanted]
        return np.stack([self._window(_size(field), source).nearest(field) for field in fields])

    def intrinsics(self) -> Intrinsics | None:
        """Camera of the clip's grid: from the calibration, the recording, or nominal for a Kinect v2 depth grid."""
        if self._recorded is None:
            return None
        window = self.geometry.window(self._recorded, str(self.recording.folder))
        camera = self.geometry.calibration.depth if self.geometry.calibration else self.recording.camera
        if camera is not None:
            return window.intrinsics(_fit_camera(camera, self._recorded, self.recording.folder))
        return window.intrinsics(KINECT_V2_DEPTH) if self._recorded == KINECT_V2_DEPTH_SIZE else None


def _fit_camera(camera: Camera, recorded: Size, folder: Path) -> Intrinsics:
    """Intrinsics on the recorded grid, scaled when the camera file speaks of another size of the same view."""
    if not same_aspect(camera.size, recorded):
        raise VidaffError(f"{folder}: intrinsics are for {_text(camera.size)} pixels, the frames {_text(recorded)}")
    return camera.intrinsics.scaled(recorded[1] / camera.size[1], recorded[0] / camera.size[0])


def load_flow(path: Path, axes: int) -> np.ndarray:
    """The one array of an ``.npz`` of packed flow, ([T,] H, W, 3) int16; pickles are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed = archive[archive.files[0]] if isinstance(archive, np.lib.npyio.NpzFile) else archive
    except (OSError, ValueError, EOFError, KeyError, IndexError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise VidaffError(f"{path}: not readable as packed flow ({error})") from error
    if packed.ndim != axes or packed.shape[-1] != 3 or packed.dtype != np.int16:
        raise VidaffError(
            f"{path}: packed flow is int16 with {axes} axes, the last of 3; got {packed.dtype} {packed.shape}"
        )
    return packed


def part_table(path: Path) -> np.ndarray:
    """``parts.json`` -> uint16 table from the part masks' grey values to affordance bits; entry 0 is no part."""
    content = read_json(path)
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or len(parts) > MAX_PARTS:
        raise VidaffError(f'{path}: {{"parts": [{{"name": ..., "affordances": [...]}}]}} is expected')
    table = np.zeros(len(parts) + 1, dtype=np.uint16)
    for index, part in enumerate(parts, start=1):
        names = part.get("affordances") if isinstance(part, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise VidaffError(f"{path}: part {index} needs a list of affordance names")
        table[index] = sum(1 << affordance_id(name, where=str(path)) for name in set(names))
    return table


class _named:
    """Puts the file's name in front of a :class:`VidaffError` raised inside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, VidaffError):
            raise VidaffError(f"{self.path}: {error}") from error


def _size(picture: np.ndarray) -> Size:
    return picture.shape[0], picture.shape[1]


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
