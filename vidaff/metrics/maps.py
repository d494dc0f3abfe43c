"""Folders of maps: which file belongs to which, and how each kind of file is read.

``PRED`` and ``GT`` are matched by their paths inside the two folders, without suffix::

    PRED/knife_01/0001.png        GT/knife_01/0001.png      the same map
    PRED/knife_01/0001.npz        GT/knife_01/0001.png      the same map
    PRED/bowl_02/bowl_02_00000001.png
    GT/bowl_02/bowl_02_00000001_label.mat                   the same map: "_label" is left out of UMD's names

A folder that holds ``*_label.mat`` files (UMD's own tree) is taken to hold no other maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidaff.datasets.taxonomies import IIT_AFF, SOR3D_AFF, UMD
from vidaff.errors import VidaffError, first_line
from vidaff.io import read_label_image


@dataclass(frozen=True)
class MapKind:
    """The maps of a data set: ``classes`` in the order of their ids, the id of the ``background``, file suffixes.

    Ids are those of the set's own files; they run from 0 without a gap, and the background is the first or the last
    (elsewhere in vidaff it is always the last). Heat maps have neither.
    """

    classes: tuple[str, ...]
    background: int
    suffixes: tuple[str, ...]


_LABELS = (".png", ".npy", ".npz")
KINDS = {
    "umd": MapKind(UMD.affordances, 0, (*_LABELS, ".mat")),
    "iit-aff": MapKind(IIT_AFF.affordances, 0, (*_LABELS, ".txt")),
    "sor3d-aff": MapKind(SOR3D_AFF.affordances, SOR3D_AFF.background, _LABELS),
    "agd20k": MapKind((), -1, (".png", ".jpg", ".npy")),
}
"""Data set -> its maps."""


@dataclass(frozen=True)
class LabelMap:
    """``labels`` (H, W) class ids; ``probs`` (classes + 1, H, W) 0..1 by class id, where the file holds them."""

    labels: np.ndarray
    probs: np.ndarray | None = None


@dataclass(frozen=True)
class Pair:
    """A prediction and its truth; ``name`` is what their paths share."""

    name: str
    pred: Path
    gt: Path


def match_maps(pred: Path, gt: Path, kind: MapKind, *, partial: bool = False) -> tuple[list[Pair], int]:
    """Pair the maps of two folders by name, sorted; also returns how many truths have no prediction.

    Raises:
        VidaffError: a folder is missing or holds no maps, two files are the same map, predictions without truth,
            or, unless ``partial``, truths without prediction.
    """
    found, truth = list_maps(pred, kind), list_maps(gt, kind)
    missing, extra = sorted(truth.keys() - found.keys()), sorted(found.keys() - truth.keys())
    faults = []
    if missing and (not partial or len(missing) == len(truth)):
        faults.append(f"{pred} lacks {len(missing)} of the {len(truth)} maps of {gt} ({_examples(missing)})")
    if extra:
        faults.append(f"{pred} holds {len(extra)} that {gt} lacks ({_examples(extra)})")
    if faults:
        raise VidaffError(f"{'; '.join(faults)}. Maps are matched by their path without suffix")
    return [Pair(name, path, truth[name]) for name, path in sorted(found.items())], len(missing)


def _examples(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def list_maps(folder: Path, kind: MapKind) -> dict[str, Path]:
    """Name -> file for every map below ``folder``; hidden files and other suffixes are left out."""
    if not folder.is_dir():
        raise VidaffError(f"{folder}: no such folder")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in kind.suffixes and path.is_file()]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if ".mat" in kind.suffixes:
        paths = [path for path in paths if path.name.endswith("_label.mat")] or paths
    maps: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        name = name.removesuffix("_label") if ".mat" in kind.suffixes else name
        if name in maps:
            raise VidaffError(f"{path}: the same map as {maps[name].name}; keep one of them")
        maps[name] = path
    if not maps:
        raise VidaffError(f"{folder}: holds no maps ({', '.join(kind.suffixes)})")
    return maps


def read_label_map(path: Path, kind: MapKind) -> LabelMap:
    """Read a map of class ids, or of probabilities (npz), whose most probable class becomes the label.

    PNG: 8-bit ids, ids with a palette, or for SOR3D-AFF the colours of its masks; npy: integers (H, W); npz: ``probs``
    (classes + 1, H, W) or (H, W, classes + 1) by class id; txt: lines of integers; mat: ``gt_label`` (H, W).

    Raises:
        VidaffError: the file cannot be read as one of these.
    """
    if path.suffix.lower() == ".npz":
        probs = _read_probabilities(path, len(kind.classes) + 1)
        return LabelMap(probs.argmax(axis=0), probs)
    readers: dict[str, Callable[[Path], np.ndarray]] = {
        ".npy": _read_array, ".txt": _read_text, ".mat": _read_mat,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    labels = _read_picture(path, kind) if reader is None else reader(path)
    if labels.ndim != 2 or labels.dtype.kind not in "iub" or not labels.size:
        raise VidaffError(f"{path}: class ids must be integers (H, W), got {labels.dtype} with shape {labels.shape}")
    return LabelMap(labels)


def _read_picture(path: Path, kind: MapKind) -> np.ndarray:
    coloured = kind is KINDS["sor3d-aff"]
    picture = read_label_image(path)
    if picture.ndim == 3 and coloured:
        from vidaff.datasets.masks import decode_mask

        return decode_mask(picture, None, where=str(path))
    if picture.ndim == 3 and _has_palette(path):
        from PIL import Image

        return np.asarray(Image.open(path))  # the decoder of read_label_image turns palette ids into colours
    return _grey(picture, path, "class ids")


def _has_palette(path: Path) -> bool:
    with open(path, "rb") as file:
        header = file.read(26)
    return header.startswith(b"\x89PNG") and header[25] == 3


def _grey(picture: np.ndarray, path: Path, what: str) -> np.ndarray:
    if picture.ndim == 3 and (picture == picture[..., :1]).all():
        return picture[..., 0]
    if picture.ndim == 3:
        raise VidaffError(f"{path}: a colour picture; {what} are expected as a grey one")
    return picture


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VidaffError(f"{path}: not readable as npy ({first_line(error)})") from error
    if not isinstance(array, np.ndarray):
        raise VidaffError(f"{path}: holds several arrays; name it .npz")
    return array


def _read_probabilities(path: Path, channels: int) -> np.ndarray:
    """(channels, H, W) float32 in 0..1."""
    probs = _only_array(path)
    if probs.ndim == 3 and probs.shape[0] != channels and probs.shape[2] == channels:
        probs = np.moveaxis(probs, 2, 0)
    if probs.ndim != 3 or probs.shape[0] != channels or probs.dtype.kind != "f" or not probs.size:
        raise VidaffError(
            f"{path}: probabilities must be floats ({channels}, H, W), one channel per class id with the background, "
            f"got {probs.dtype} with shape {probs.shape}"
        )
    probs = probs.astype(np.float32)
    if not (np.isfinite(probs).all() and probs.min() >= 0 and probs.max() <= 1):
        raise VidaffError(f"{path}: probabilities must lie in 0..1")
    return probs


def _only_array(path: Path) -> np.ndarray:
    """The array ``probs`` of an npz, or the only one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays)
            if "probs" not in names and len(names) != 1:
                raise VidaffError(f"{path}: an array called probs is expected, got {', '.join(names) or 'none'}")
            return arrays["probs" if "probs" in names else names[0]]
    except VidaffError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise VidaffError(f"{path}: not readable as npz ({first_line(error)})") from error


def _read_text(path: Path) -> np.ndarray:
    from vidaff.datasets.label_text import parse_numbers, read_bytes

    return parse_numbers(read_bytes(path), path)


def _read_mat(path: Path) -> np.ndarray:
    from vidaff.datasets.umd import read_labels

    return read_labels(path)


def rank_reader(pairs: Sequence[Pair]) -> Callable[[Pair], np.ndarray] | None:
    """A reader of UMD's ranks (H, W, 7) beside each truth; None where no truth has any.

    Raises:
        VidaffError: only some of the truths have ranks; from the reader, ranks that cannot be used.
    """
    from vidaff.datasets.umd import read_ranks

    lacking = [pair.gt for pair in pairs if not _rank_file(pair.gt).is_file()]
    if lacking and len(lacking) == len(pairs):
        return None
    if lacking:
        raise VidaffError(f"{_rank_file(lacking[0])}: no such file, though other maps have their ranks")
    return lambda pair: read_ranks(_rank_file(pair.gt))


def _rank_file(truth: Path) -> Path:
    return truth.with_name(f"{truth.name.removesuffix('.mat')}_rank.mat")


def read_heatmap(path: Path) -> np.ndarray:
    """Read a heat map: an 8-bit grey picture, or numbers (H, W) >= 0 in an npy -> (H, W) float64, as stored.

    Raises:
        VidaffError: the file is neither, or holds negative or non-finite numbers.
    """
    heat = _read_array(path) if path.suffix.lower() == ".npy" else _grey(read_label_image(path), path, "heat maps")
    if heat.ndim != 2 or heat.dtype.kind not in "iubf" or not heat.size:
        raise VidaffError(f"{path}: a heat map must be numbers (H, W), got {heat.dtype} with shape {heat.shape}")
    heat = heat.astype(np.float64)
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise VidaffError(f"{path}: a heat map must hold finite numbers, none negative")
    return heat
