"""Clip data sets: one file each, all returning :class:`Clip` through :class:`ClipDataset`.

Adding one: write a :class:`ClipDataset` whose constructor takes ``(root, split, **options)``, name it in
:data:`DATASETS`, and add its card to the top-level ``datasets/`` folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidaff.datasets.base import Clip, ClipDataset, ClipInfo
from vidaff.errors import VidaffError

DATASETS: dict[str, str] = {
    "sor3d-aff": "vidaff.datasets.sor3d_aff:Sor3dAff",
    "own-clips": "vidaff.datasets.own_clips:OwnClips",
    "umd": "vidaff.datasets.umd:Umd",
    "iit-aff": "vidaff.datasets.iit_aff:IitAff",
    "utkinect": "vidaff.datasets.utkinect:UTKinect",
}
"""Name -> ``module:Class``, imported when it is asked for."""

GROUNDING: dict[str, str] = {"agd20k": "vidaff.datasets.agd20k"}
"""Sets of pictures with a heat map for an action, for the image branch, and their packages; they are no clips."""

STILLS = ("umd", "iit-aff")
"""Sets of still pictures, which are clips of one frame with classes of their own."""

SPLITS = ("train", "val")

__all__ = [
    "DATASETS",
    "GROUNDING",
    "SPLITS",
    "STILLS",
    "Clip",
    "ClipDataset",
    "ClipInfo",
    "check_options",
    "dataset_class",
    "load_dataset",
]


def dataset_class(name: str) -> type[ClipDataset]:
    """Class of the data set called ``name``; raise :class:`VidaffError` listing the known names."""
    if name not in DATASETS:
        raise VidaffError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    module, _, attribute = DATASETS[name].partition(":")
    found: type[ClipDataset] = getattr(importlib.import_module(module), attribute)
    return found


def check_options(name: str, root_or_file: str | Path, options: Mapping[str, str]) -> dict[str, str]:
    """``options`` as a user may name them for a folder in the layout of the data set, such as ``protocol``: ``novel``.

    Raises:
        VidaffError: one that the data set does not take, a value that it does not know, or any for a prepared file.
    """
    known: Mapping[str, tuple[str, ...]] = getattr(dataset_class(name), "choices", {})
    for key, value in options.items():
        if not known:
            raise VidaffError(f"{name}: takes no option {key!r}")
        if key not in known:
            raise VidaffError(f"{name}: still pictures take no option {key!r}; known: {', '.join(known)}")
        if value not in known[key]:
            raise VidaffError(f"{name}: {key} is one of {', '.join(known[key])}, got {value!r}")
    if options and Path(root_or_file).is_file():
        given = ", ".join(sorted(options))
        raise VidaffError(
            f"{root_or_file}: a prepared file takes no options, got {given}; it was prepared with its own"
        )
    return dict(options)


def load_dataset(name: str, root_or_file: str | Path, split: str, **options: Any) -> ClipDataset:
    """Open one split of a data set: a folder in its own layout, or a file written by ``vidaff data prepare``.

    ``options`` go to the class of the folder layout (size, geometry, fps ...). A prepared file has them built in
    and takes none.
    """
    source = Path(root_or_file)
    opener: Callable[..., ClipDataset] = dataset_class(name)
    if source.is_file():
        from vidaff.datasets.prepared import PreparedClips

        if options:
            raise VidaffError(f"{source}: a prepared file takes no options, got {', '.join(sorted(options))}")
        if name in STILLS:
            from vidaff.datasets.prepared_stills import PreparedStills

            return PreparedStills(source, split, dataset=name)
        return PreparedClips(source, split, dataset=name)
    if not source.exists():
        raise VidaffError(f"{source}: no such file or folder")
    return opener(source, split, **options)
