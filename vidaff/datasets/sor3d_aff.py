"""SOR3D-AFF as its authors' loader expects it on disk, with vidaff's own extras where they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidaff.datasets.folder import FolderClips
from vidaff.datasets.recording import Recording, list_folders, parse_name, scan_sor3d
from vidaff.errors import VidaffError

OFFICIAL_COUNTS = {"train": 962, "val": 239}
"""Recordings of the published split; the paper's test set is ``val``. Source: Thermos et al., ICASSP 2020."""


class Sor3dAff(FolderClips):
    """One split of SOR3D-AFF, or of a synthetic set in the same layout.

    On disk::

        ROOT/{train,val}/Subject<N>_<action>_..._<object>/
            rgb/0001.png ...            colour frames, names without "_", sorted by number
            rgb/z_1_mask.png            four extra files, names with "_", sorted after the frames:
            rgb/z_2_x.png z_3_x.png       1st: colour mask of the LAST frame, 2nd and 3rd: not read
            rgb/z_4_hotspot.json          4th: circle of interaction
            depth/0001.png ...          optional: 16-bit millimetres, paired by name
            intrinsics.yaml             optional: fx fy cx cy width height of the depth grid, fps
            parts/0001.png, parts.json  optional: part index + 1 per pixel, and what each part affords
            flow/0001.npz or flow.npz   optional: exact scene flow, packed

    A sample is a :class:`vidaff.datasets.Clip`; options are those of :class:`FolderClips`. Raises
    :class:`VidaffError` when the split is missing or empty or a recording's name holds an unknown action or object.

    Source: Thermos et al., ICASSP 2020, section 4.1; STCAE release, ``data/dataloader.py``.
    """

    def __init__(self, root: str | Path, split: str, **options: Any) -> None:
        folder = Path(root) / split
        if not folder.is_dir():
            raise VidaffError(f"{root}: has no {split}/ folder; expected ROOT/train and ROOT/val with recordings")
        folders = list_folders(folder)
        if not folders:
            raise VidaffError(f"{folder}: holds no recordings")
        super().__init__([parse_name(path.name) for path in folders], folders, **options)

    def recording(self, index: int) -> Recording:
        return scan_sor3d(self._folders[index], self.info(index))
