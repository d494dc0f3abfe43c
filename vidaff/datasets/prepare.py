"""Write a prepared file: sample, align and resize the clips of a data set, compute their flow, pack it all in HDF5.

Every clip becomes one small file in ``OUT.h5.parts/`` first; a run that was stopped continues from there. At the end
they are joined into a temporary file that takes the name ``OUT.h5``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vidaff.datasets import SPLITS, STILLS, ClipDataset, check_options, dataset_class
from vidaff.datasets.base import Clip
from vidaff.datasets.calibration import read_calibration
from vidaff.datasets.folder import FolderClips, require_folder
from vidaff.datasets.guarded_file import GuardedFile
from vidaff.datasets.pool import run_pool
from vidaff.datasets.prepared import ARRAYS, FORMAT, VERSION, open_prepared
from vidaff.datasets.prepared_stills import read_any_head, write_boxes
from vidaff.datasets.taxonomies import taxonomy_of
from vidaff.errors import VidaffError
from vidaff.flow3d import METHODS, Intrinsics, SceneFlow, pack_flow, scene_flow
from vidaff.frames import default_intrinsics
from vidaff.io import atomic_path, read_json, write_json
from vidaff.progress import progress_bar

FLOWS = (*METHODS, "exact")
Entry = tuple[str, str, int]
"""Split, name and number of a clip."""
Track = Callable[[Iterable[Entry]], Iterable[Entry]]


@dataclass(frozen=True)
class PrepareSettings:
    """How clips are stored.

    ``size``: (height, width) of all arrays; the paper's is (300, 300). ``fps``: frames a second, None keeps all.
    ``geometry``, ``calibration`` (YAML file), ``centre_crop``: :mod:`vidaff.datasets.geometry`. ``flow``: a method of
    :mod:`vidaff.flow3d`, computed at the stored size; ``exact`` copies the ground truth of synthetic clips; ``none``
    stores no flow. ``clip_length`` keeps the last frames only. ``frame_rule``: ``fps`` or ``authors``.
    ``all_labels`` keeps classes beside the recording's action. ``black_is_ignore``: black in masks is 255.

    Still pictures take ``size``, ``centre_crop`` and ``flow="none"`` only, and ``dataset_options``, the options of
    their class, such as ``{"protocol": "novel"}``.
    """

    size: tuple[int, int] = (96, 96)
    fps: float | None = 10.0
    geometry: str = "resize"
    flow: str = "pd-dis"
    calibration: str | None = None
    centre_crop: int | None = None
    clip_length: int | None = None
    frame_rule: str = "fps"
    all_labels: bool = False
    black_is_ignore: bool = False
    dataset_options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.flow not in FLOWS:
            raise VidaffError(f"unknown flow {self.flow!r}; known: {', '.join(FLOWS)}")

    def options(self) -> dict[str, Any]:
        """Options for the class that reads the folders."""
        values = asdict(self)
        flow = values.pop("flow")
        values.pop("dataset_options")
        return {**values, "exact_flow": flow == "exact"}

    def still_options(self) -> dict[str, Any]:
        """Options for the class that reads still pictures; raise :class:`VidaffError` for settings of clips."""
        if self.flow != "none":
            raise VidaffError(f"still pictures do not move: flow must be none, got {self.flow!r}")
        for setting in fields(self):
            if setting.name in ("size", "centre_crop", "flow", "dataset_options"):
                continue
            if getattr(self, setting.name) != setting.default:
                raise VidaffError(f"still pictures take no {setting.name}={getattr(self, setting.name)!r}")
        return {"size": self.size, "centre_crop": self.centre_crop, **self.dataset_options}

    def as_dict(self) -> dict[str, Any]:
        """All that changes the stored numbers, JSON-able: the calibration's content instead of its path."""
        values: dict[str, Any] = {**asdict(self), "size": list(self.size)}
        if not self.dataset_options:
            del values["dataset_options"]  # as in files of clips, which have none
        if self.calibration is not None:
            values["calibration"] = read_calibration(self.calibration).as_dict()
        method = self.flow if self.flow in METHODS else "none"
        values["flow_settings"] = SceneFlow(Intrinsics(1, 1, 0, 0), method).settings()
        # One round trip, so that settings read back from disk compare equal.
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def prepare_clips(
    dataset_name: str,
    root: str | Path,
    out: str | Path,
    settings: PrepareSettings,
    *,
    workers: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the clips of the data set ``dataset_name`` under ``root`` to the prepared file ``out``; return its path.

    ``workers`` processes share the clips. ``resume`` continues a stopped run with the same settings, ``overwrite``
    starts anew. Raises :class:`VidaffError` for unusable clips or settings, an existing file, one that was made from
    another folder or other clips, or a full disk.
    """
    out = Path(out)
    datasets = open_splits(dataset_name, root, settings)
    record = {"dataset": dataset_name, "settings": settings.as_dict()}
    clips = [(split, dataset.name(i), i) for split, dataset in datasets.items() for i in range(len(dataset))]
    if _is_done(out, record, resume=resume, overwrite=overwrite):
        _check_source(out, Path(root), clips)
        return out
    parts = _begin(out, {**record, "root": str(Path(root).resolve())}, resume=resume, overwrite=overwrite)
    left = [(split, i) for split, name, i in clips if not _shard(parts, split, name).is_file()]
    if workers > 1 and len(left) > 1 and settings.flow in METHODS:
        _warm_up(settings.flow)
    with progress_bar(shown=progress) as bar:
        task = bar.add_task("preparing", total=len(clips), completed=len(clips) - len(left))
        start = (datasets, settings, parts)
        for _ in run_pool(_prepare_one, left, workers=workers, start=_start_worker, start_args=start):
            bar.advance(task)
        task = bar.add_task("joining", total=len(clips))
        record["source"] = _source(out, Path(root))
        _join(out, record, parts, clips, lambda entries: bar.track(entries, task_id=task))
    shutil.rmtree(parts, ignore_errors=True)
    return out


def open_splits(dataset_name: str, root: str | Path, settings: PrepareSettings) -> Mapping[str, ClipDataset]:
    """The splits that exist under ``root``. Own clips without ``train/`` and ``val/`` all count as ``train``."""
    root = Path(root)
    require_folder(root)
    found: Any = dataset_class(dataset_name)
    check_options(dataset_name, root, settings.dataset_options)
    if dataset_name in STILLS:
        return {split: found(root, split, **settings.still_options()) for split in SPLITS}
    if not issubclass(found, FolderClips):
        raise VidaffError(f"{dataset_name}: clips of this data set cannot be prepared")
    splits = [split for split in SPLITS if (root / split).is_dir()] or ["train"]
    return {split: found(root, split, **settings.options()) for split in splits}


def compute_flow(clip: Clip, method: str) -> np.ndarray:
    """Packed scene flow (T, H, W, 3) int16 of a clip, zero in the first frame, on each frame's own pixels.

    Raises :class:`VidaffError` when the method needs depth or a camera that the clip does not bring.
    """
    camera = clip.intrinsics or default_intrinsics(*clip.rgb.shape[1:3])
    stream = SceneFlow(camera, method)
    if stream.needs_depth and clip.depth is None:
        raise VidaffError(f"clip {clip.name} has no depth; use --flow dis2d or --flow none")
    if stream.needs_depth and clip.intrinsics is None:
        raise VidaffError(f"clip {clip.name} brings no intrinsics; add intrinsics.yaml, or use --flow dis2d")
    depth_m = [None] * len(clip.rgb) if clip.depth is None else clip.depth.astype(np.float32) / 1000
    steps = [stream.step(rgb, depth) for rgb, depth in zip(clip.rgb, depth_m, strict=True)]
    return np.stack([pack_flow(flow, valid) for flow, valid in steps])


def _warm_up(method: str) -> None:
    """Compile what the flow method needs before several processes all do."""
    black, plane = np.zeros((96, 96), np.uint8), np.ones((96, 96), np.float32)
    scene_flow(black, plane, black, plane, Intrinsics(96, 96, 47.5, 47.5), method=method)


def _is_done(out: Path, record: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Whether ``out`` exists and may stay; raise when it exists and neither resuming nor overwriting fits it."""
    if out.is_dir():
        raise VidaffError(f"{out}: is a folder; name the HDF5 file that is to be written")
    if overwrite or not out.exists():
        return False
    if not resume:
        raise VidaffError(f"{out}: exists already; choose another name, or pass --overwrite")
    with open_prepared(out) as file:
        head = read_any_head(file, out)
    if any(head[key] != value for key, value in record.items()):
        raise VidaffError(f"{out}: was made with other settings; pass --overwrite to replace it")
    return True


def _source(out: Path, root: Path) -> dict[str, Any]:
    """Where clips are from, to be known again: name of the folder, and hashes of its place, absolute and from ``out``.

    Either place will do, so that a folder may be moved together with the file; hashes, since files are passed on.
    """
    absolute = root.resolve()
    places = (str(absolute), os.path.relpath(absolute, out.resolve().parent))
    return {"root": absolute.name, "places": [hashlib.sha256(os.fsencode(place)).hexdigest()[:16] for place in places]}


def _check_source(out: Path, root: Path, clips: list[Entry]) -> None:
    """Refuse a complete file of other clips than those of ``root``; older files do not say where theirs are from."""
    with open_prepared(out) as file:
        stored = {(split, name) for split in SPLITS if split in file for name in file[split]}
        before = json.loads(file.attrs.get("source", "null"))
    cure = "pass --overwrite to replace it, or remove it"
    now = _source(out, root)
    if before is not None and not any(a == b for a, b in zip(before["places"], now["places"], strict=True)):
        raise VidaffError(f"{out}: was made from another folder, {before['root']!r}, than {root}; {cure}")
    wanted = {(split, name) for split, name, _ in clips}
    if stored != wanted:
        more, gone = len(wanted - stored), len(stored - wanted)
        raise VidaffError(
            f"{out}: was made from other clips than those in {root}, where {more} are new and {gone} gone; {cure}"
        )


def _begin(out: Path, record: dict[str, Any], *, resume: bool, overwrite: bool) -> Path:
    """Folder for the clips' files, with the settings they are made with."""
    parts = out.with_name(out.name + ".parts")
    if overwrite:
        shutil.rmtree(parts, ignore_errors=True)
    if parts.exists():
        if not resume:
            raise VidaffError(f"{parts}: left by a run that was stopped; pass --resume to continue or --overwrite")
        if read_json(parts / "settings.json") != record:
            raise VidaffError(f"{parts}: was begun with other settings; pass --overwrite to start anew")
        return parts
    write_json(parts / "settings.json", record)
    return parts


def _shard(parts: Path, split: str, name: str) -> Path:
    return parts / split / f"{name}.h5"


_worker: dict[str, Any] = {}
"""What a worker process keeps between clips."""


def _start_worker(datasets: Mapping[str, ClipDataset], settings: PrepareSettings, parts: Path) -> None:
    _worker.update(datasets=datasets, settings=settings, parts=parts)


def _prepare_one(split: str, index: int) -> None:
    """Read, compute and store one clip; its file appears under its name only when it is whole."""
    settings: PrepareSettings = _worker["settings"]
    dataset: ClipDataset = _worker["datasets"][split]
    clip = dataset.read(index)
    flow = clip.flow if settings.flow == "exact" else None
    if settings.flow not in ("exact", "none"):
        flow = compute_flow(clip, settings.flow)
    path = _shard(_worker["parts"], split, clip.name)
    try:
        # Made in memory: HDF5 crashes the program at its end when the disk fills up under an open file.
        with h5py.File(path.name, "w", libver="latest", driver="core", backing_store=False) as file:
            write_clip(file, clip, flow)
            write_boxes(file, dataset.object_boxes(index))
            file.flush()
            image = file.id.get_file_image()
        with atomic_path(path) as temporary:
            temporary.write_bytes(image)
    except UnicodeEncodeError as error:
        raise VidaffError(f"recording {clip.name!r}: rename it, its name is not UTF-8") from error
    except OSError as error:
        raise VidaffError(f"cannot write {path}: {' '.join(str(error).split())[:200]}") from error


def write_clip(group: h5py.Group, clip: Clip, flow: np.ndarray | None) -> None:
    """Store a clip's arrays and attributes in ``group``, by frame, compressed with LZF after byte shuffling."""
    arrays = {**{name: getattr(clip, name) for name in ARRAYS}, "flow": flow}
    for name, array in arrays.items():
        if array is None:
            continue
        chunks = (1, *array.shape[1:]) if array.ndim > 2 else array.shape
        group.create_dataset(name, data=array, chunks=chunks, compression="lzf", shuffle=True)
    group.attrs.update(
        action=clip.action, object=clip.object, subject=clip.subject, name=clip.name, fps=clip.fps,
        **(clip.intrinsics.as_dict() if clip.intrinsics else {}),
    )  # fmt: skip


def _join(out: Path, record: dict[str, Any], parts: Path, clips: list[Entry], track: Track) -> None:
    """Copy the clips' compressed chunks into one file and give it its name; ``track`` shows how far it is."""
    needed = sum(_shard(parts, split, name).stat().st_size for split, name, _ in clips)
    if needed > shutil.disk_usage(parts).free:
        raise VidaffError(
            f"cannot write {out}: {needed / 2**20:.1f} MiB are needed; free some space and continue with --resume"
        )
    with atomic_path(out) as temporary:
        try:
            with open(temporary, "r+b", buffering=0) as raw:
                _write_joined(GuardedFile(raw), record, parts, clips, track)
        except (OSError, RuntimeError) as error:
            message = " ".join(str(error).split())[:200]
            raise VidaffError(f"cannot write {out}: {message}; free some space and continue with --resume") from error


def _write_joined(disk: GuardedFile, record: dict[str, Any], parts: Path, clips: list[Entry], track: Track) -> None:
    settings = record["settings"]
    with h5py.File(disk, "w", libver="latest") as file:
        fps = 0.0
        for split, name, _ in track(clips):
            with h5py.File(_shard(parts, split, name), "r") as shard:
                shard.copy(shard, file.require_group(split), name=name)
                fps = max(fps, float(shard.attrs["fps"]))
            disk.check()
        height, width = settings["size"]
        taxonomy = taxonomy_of(record["dataset"])
        if record["dataset"] in STILLS:
            file.attrs["colours"] = json.dumps([*taxonomy.colours, taxonomy.background_colour])
        file.attrs.update(
            format=FORMAT, version=VERSION, dataset=record["dataset"], height=height, width=width,
            fps=fps, classes=json.dumps(taxonomy.classes), settings=json.dumps(settings),
            source=json.dumps(record["source"]),
        )  # fmt: skip
    disk.check()
