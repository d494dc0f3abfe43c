"""Your own clips: a simple folder form, read by the same code as SOR3D-AFF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidaff.datasets.base import ClipInfo
from vidaff.datasets.calibration import Camera, parse_camera
from vidaff.datasets.folder import FolderClips
from vidaff.datasets.recording import Recording, list_folders, scan_own
from vidaff.datasets.taxonomy import affordance_id
from vidaff.errors import VidaffError
from vidaff.io import read_json

KEYS = ("action", "object", "subject", "fps", "intrinsics", "settings", "seed")


@dataclass(frozen=True)
class ClipSheet:
    """Content of ``clip.json``; ``camera`` and ``fps`` are ``None`` where the file does not say."""

    info: ClipInfo
    camera: Camera | None
    fps: float | None


class OwnClips(FolderClips):
    """Clips in folders of their own.

    On disk, ROOT being one clip, a folder of clips, or a folder with ``train/`` and ``val/`` of clips::

        CLIP/rgb/0001.png (or .jpg) ...   frames, sorted by number
        CLIP/depth/0001.png ...           optional: 16-bit millimetres, registered to the frames; may be smaller
        CLIP/mask.png                     optional: last frame, grey class ids (0..8, 9, 255) or affordance colours
        CLIP/clip.json                    optional: {"action": "cut", "object": "knife", "subject": "me", "fps": 30,
                                                     "intrinsics": {"fx", "fy", "cx", "cy", "width", "height"}}
        CLIP/intrinsics.yaml              optional: the intrinsics, if not in clip.json

    Without ``train/`` and ``val/`` both splits are all clips. A clip without an action has ``action == -1``. A sample
    is a :class:`vidaff.datasets.Clip`; options are those of :class:`FolderClips`. Raises :class:`VidaffError` when
    there is no clip, or a ``clip.json`` holds an unknown key, action or a wrong type.
    """

    scaled_depth = True

    def __init__(self, root: str | Path, split: str, **options: Any) -> None:
        folders = own_folders(Path(root), split)
        self._sheets = [read_sheet(folder) for folder in folders]
        super().__init__([sheet.info for sheet in self._sheets], folders, **options)

    def recording(self, index: int) -> Recording:
        sheet = self._sheets[index]
        return scan_own(self._folders[index], sheet.info, sheet.camera, sheet.fps)


def own_folders(root: Path, split: str) -> list[Path]:
    """Clip folders of a split; raise :class:`VidaffError` saying what was looked for when there are none."""
    if (root / "rgb").is_dir():
        return [root]
    parted = (root / "train").is_dir() or (root / "val").is_dir()
    folder = root / split if parted else root
    if not folder.is_dir():
        raise VidaffError(f"{folder}: no such folder")
    folders = [path for path in list_folders(folder) if (path / "rgb").is_dir()]
    if not folders:
        raise VidaffError(f"{folder}: holds no clip (a folder with rgb/0001.png ...)")
    return folders


def read_sheet(folder: Path) -> ClipSheet:
    """Read ``clip.json`` of a clip folder; a missing file means that nothing is known but the name."""
    path = folder / "clip.json"
    if not path.is_file():
        return ClipSheet(ClipInfo(folder.name, -1, "", ""), None, None)
    content = read_json(path)
    if not isinstance(content, dict) or set(content) - set(KEYS):
        unknown = ", ".join(sorted(set(content) - set(KEYS))) if isinstance(content, dict) else "no mapping"
        raise VidaffError(f"{path}: keys {', '.join(KEYS)} are known, got {unknown}")
    texts = {key: content.get(key) or "" for key in ("action", "object", "subject")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise VidaffError(f"{path}: {key} must be a text, got {value!r:.80}")
    action = affordance_id(texts["action"], where=str(path)) if texts["action"] else -1
    intrinsics = content.get("intrinsics")
    camera = parse_camera(intrinsics, str(path)) if intrinsics is not None else None
    info = ClipInfo(folder.name, action, texts["object"], texts["subject"])
    return ClipSheet(info, camera, _fps(content.get("fps"), path))


def _fps(value: Any, path: Path) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1000:
        raise VidaffError(f"{path}: fps must be a number above 0, got {value!r:.80}")
    return float(value)
