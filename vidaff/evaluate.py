"""Evaluate a checkpoint on a split of clips: ``video`` (the whole clip, last frame scored) or ``static`` (last frame).

Sets of still pictures are scored as in published tables, whole pictures at their recorded size, see
:mod:`vidaff.protocols`.

The work is three steps: :func:`predict_split` runs the model and yields one :class:`ClipPrediction` per clip,
:mod:`vidaff.metrics` turns them into scores, :mod:`vidaff.results` writes the files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch

from vidaff.datasets import STILLS, Clip, ClipDataset, check_options, load_dataset
from vidaff.datasets.taxonomies import SOR3D_AFF
from vidaff.datasets.taxonomy import AFFORDANCES, IGNORE
from vidaff.errors import VidaffError
from vidaff.metrics import (
    ClipOutcome,
    bootstrap_intervals,
    confusion_matrix,
    f_beta,
    ranked_f_measure,
    summarise,
    weighted_precision_recall,
)
from vidaff.metrics.averages import carry_forward
from vidaff.models.video.inputs import InputCoder
from vidaff.protocols import CLIPS, Protocol, protocol_of
from vidaff.weights import Checkpoint, checkpoint_format, flow_method, load_checkpoint, model_taxonomy

if TYPE_CHECKING:
    from vidaff.models.baselines.checkpoint import DetectorCheckpoint
    from vidaff.models.baselines.runner import DetectorRunner
    from vidaff.picture_runner import PictureRunner

    AnyRunner: TypeAlias = "Runner | DetectorRunner | PictureRunner"

MODES = ("video", "static")
GALLERY = 6
"""Clips kept for the pictures of the best and of the worst."""
_LATER = {"mean_margolin_03"}
"""Overall scores that results.json of clips did not always hold."""
CHOOSING = ("protocol", "frames")
"""Options of data sets that decide which pictures are scored."""
WAITING = 64
"""Clips that may wait for others of their shape: sets of web pictures have a shape for almost every picture."""


@dataclass(frozen=True)
class ClipPrediction:
    """One clip's last frame as the model sees it and as it should.

    ``rgb`` (H, W, 3) uint8, ``truth`` and ``labels`` (H, W) uint8 class ids (truth also 255 = ignore);
    ``action`` and ``predicted_action`` ids 0..8 (-1 = unknown; AffordanceNet predicts none). ``ranks`` (H, W, K) of
    UMD, where they count.
    """

    name: str
    object: str
    rgb: np.ndarray
    truth: np.ndarray
    labels: np.ndarray
    action: int
    predicted_action: int
    ranks: np.ndarray | None = None


@dataclass
class EvalResult:
    """All results of one evaluation; undefined numbers are NaN here and ``None`` in :meth:`to_dict`.

    ``overall``: metric -> value; ``per_class``: metric -> affordance -> value; ``intervals``: the same keys, each
    (low, high) of the 95 % bootstrap over clips. ``confusion`` (K + 1, K + 1) pixels and ``actions`` (9, 9) clips,
    (0, 0) for stills, rows truth. ``clips``: one record per clip. ``model``: ``video`` or ``affordancenet``. ``grid``:
    the pixels that were scored. ``options``: those of a set of still pictures that decide what its split holds;
    ``trained``: those of the model's training, empty if unknown. ``best``, ``worst``: predictions kept for pictures.
    ``beside``: results of earlier evaluations to be shown in the same table. ``protocol``: what is reported.
    """

    mode: str
    split: str
    dataset: str
    checkpoint: str
    zero_flow: bool
    overall: dict[str, float]
    per_class: dict[str, dict[str, float]]
    intervals: dict[str, Any]
    confusion: np.ndarray
    actions: np.ndarray
    clips: list[dict[str, Any]]
    seconds: float
    model: str = "video"
    grid: str = ""
    options: dict[str, str] = field(default_factory=dict)
    trained: dict[str, str] = field(default_factory=dict)
    protocol: Protocol = field(default=CLIPS, repr=False)
    beside: list[dict[str, Any]] = field(default_factory=list, repr=False)
    best: list[ClipPrediction] = field(default_factory=list, repr=False)
    worst: list[ClipPrediction] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content, without the pictures."""
        kept = {key: value for key, value in vars(self).items() if key not in ("best", "worst", "beside", "protocol")}
        classes = self.protocol.taxonomy.classes
        content: dict[str, Any] = _plain({**kept, "num_clips": len(self.clips), "classes": classes})
        return content


def evaluate(
    checkpoint: str | Path | Checkpoint | DetectorCheckpoint,
    data: str | Path | ClipDataset,
    *,
    mode: str | None = None,
    split: str = "val",
    dataset: str = "sor3d-aff",
    options: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    zero_flow: bool = False,
    any_flow: bool = False,
    device: str = "auto",
    batch_size: int = 8,
    limit: int | None = None,
    beside: Sequence[str | Path] = (),
    progress: bool = True,
) -> EvalResult:
    """Score a checkpoint on one split.

    Args:
        checkpoint: path or shipped name, or one that is loaded already (its model is put on ``device``).
        data: root folder or prepared file of ``dataset``, or an open split.
        mode: ``video`` feeds the whole clip and scores its last frame; ``static`` the last frame alone, clip length 1
            and zero flow. None takes ``video`` for a model of clips, and ``static``, all they can do, for AffordanceNet
            and models of still pictures.
        split: ``train`` or ``val``; ignored for an open split.
        dataset: registered name, see :data:`vidaff.datasets.DATASETS`.
        options: of a folder of still pictures, such as ``{"protocol": "novel"}``. Its default protocol is that of the
            training, where the checkpoint knows it.
        out: new folder for results.md, .json, .csv, confusion.png, best.png, worst.png; None writes nothing.
        overwrite: write into ``out`` even if it holds files.
        zero_flow: feed zero flow in ``video`` mode too, a static baseline of the flow stream.
        any_flow: accept stored flow that was computed in another way than the model's training data.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` ...
        batch_size: clips in one forward pass; the scores do not depend on it.
        limit: only the first clips.
        beside: folders of earlier evaluations of the same split, to be shown in the table of the overall results.
        progress: show a progress bar.

    Raises:
        VidaffError: unknown mode, missing checkpoint or data, a model of other classes, clips without labels, stored
            flow of another kind, ``out`` that holds files.

    Source: Thermos et al., ICASSP 2020, section 4.2.
    """
    _check_options(mode, batch_size, limit)
    if dataset in STILLS and (zero_flow or any_flow):
        raise VidaffError(f"{dataset}: its pictures do not move, so zero flow and any flow mean nothing")
    if isinstance(data, ClipDataset):
        if options:
            raise VidaffError("options belong to a folder; the split that was given is open already")
    else:
        check_options(dataset, data, options or {})
    others = [read_results(folder, dataset=dataset, split=split) for folder in beside]
    loaded = _open_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
    mode = _mode(loaded, mode, dataset)
    check_classes(loaded, dataset)
    trained = _trained_options(loaded)
    clips = data if isinstance(data, ClipDataset) else open_split(dataset, data, split, loaded, options)
    if not len(clips):
        raise VidaffError(f"{data}: split {split!r} holds no clip")
    _check_beside(others, beside, clips)
    if isinstance(loaded, Checkpoint) and mode == "video" and not zero_flow and not any_flow:
        check_stored_flow(loaded, clips, str(data) if isinstance(data, str | Path) else "the data")
    folder = _prepare_out(out, overwrite)
    runner = _runner(loaded, clips, dataset, device=device, static=mode == "static", zero_flow=zero_flow)
    protocol = protocol_of(dataset, ranked=getattr(clips, "has_ranks", False))
    count = min(len(clips), limit or len(clips))
    start = time.perf_counter()
    scored = _Collector(protocol)
    predictions = predict_split(runner, clips, count, batch_size, ranked=protocol.ranked)
    for prediction in _tracked(predictions, count, f"{mode} {split}", progress):
        scored.add(prediction)
    name = str(checkpoint) if isinstance(checkpoint, str | Path) else "loaded model"
    result = scored.result(
        mode=mode, split=split, dataset=dataset, checkpoint=name, zero_flow=zero_flow or mode == "static",
        seconds=time.perf_counter() - start, model="video" if isinstance(loaded, Checkpoint) else "affordancenet",
        grid=_grid(clips), options=clips.options, trained=trained, beside=others,
    )  # fmt: skip
    if folder is not None:
        from vidaff.results import write_results

        write_results(result, folder)
    return result


def _open_checkpoint(name: str | Path) -> Checkpoint | DetectorCheckpoint:
    """A checkpoint of either model."""
    if checkpoint_format(name) == "vidaff-affordancenet":
        from vidaff.models.baselines.checkpoint import load_detector

        return load_detector(name)
    return load_checkpoint(name)


def _mode(checkpoint: Checkpoint | DetectorCheckpoint, mode: str | None, dataset: str) -> str:
    if isinstance(checkpoint, Checkpoint) and dataset not in STILLS:
        return mode or ("video" if checkpoint.recipe.train.clip_length > 1 else "static")
    if mode == "video":
        who = f"{dataset} has" if dataset in STILLS else "AffordanceNet sees"
        raise VidaffError(f"{who} single pictures, not clips; use --mode static")
    return "static"


def check_classes(checkpoint: Checkpoint | DetectorCheckpoint, dataset: str) -> None:
    """Refuse a model whose classes are not those of ``dataset``; raise :class:`VidaffError`."""
    wanted = protocol_of(dataset).taxonomy
    if isinstance(checkpoint, Checkpoint):
        known = model_taxonomy(checkpoint.recipe, checkpoint.info).classes
    else:
        known = tuple(checkpoint.classes)
    if known == wanted.classes:
        return
    cure = ""
    if dataset in STILLS and known == SOR3D_AFF.classes and isinstance(checkpoint, Checkpoint):
        cure = f"; 'vidaff transfer' shows a model of SOR3D-AFF on {dataset}"
    raise VidaffError(
        f"the checkpoint knows other classes ({', '.join(known[:-1])}) than {dataset} "
        f"({', '.join(wanted.affordances)}){cure}"
    )


def _grid(clips: ClipDataset) -> str:
    """The pixels that are scored, in words; empty for clips, whose grid the table does not tell."""
    from vidaff.datasets.prepared_stills import PreparedStills
    from vidaff.datasets.stills import StillDataset
    from vidaff.training.stills import view_of

    crop = view_of(clips)["centre_crop"]
    part = "whole pictures" if crop is None else f"their centre {crop} pixels"
    if isinstance(clips, PreparedStills):
        return f"{part}, prepared at {clips.size[1]}x{clips.size[0]}"
    return f"{part} at their recorded size" if isinstance(clips, StillDataset) else ""


def _runner(
    checkpoint: Checkpoint | DetectorCheckpoint, clips: ClipDataset, dataset: str, *, device: str, static: bool,
    zero_flow: bool,
) -> AnyRunner:  # fmt: skip
    if isinstance(checkpoint, Checkpoint) and dataset in STILLS:
        from vidaff.picture_runner import PictureRunner

        return PictureRunner(checkpoint, clips, device=device)
    if isinstance(checkpoint, Checkpoint):
        return Runner(checkpoint, device=device, static=static, zero_flow=zero_flow)
    from vidaff.models.baselines.runner import DetectorRunner

    return DetectorRunner(checkpoint, clips, device=device)


def _trained_options(checkpoint: Checkpoint | DetectorCheckpoint) -> dict[str, str]:
    """Options of the data set that the model was trained on, as its training wrote them; empty where it did not."""
    found = checkpoint.info.get("options")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _check_beside(others: Sequence[dict[str, Any]], folders: Sequence[str | Path], clips: ClipDataset) -> None:
    """Refuse earlier evaluations of other pictures; those that do not say which are taken at their word."""
    for other, folder in zip(others, folders, strict=True):
        before, now = other.get("options"), clips.options
        before = before if isinstance(before, dict) else {}
        unlike = [key for key in CHOOSING if before.get(key, now.get(key)) != now.get(key)]
        if unlike:
            said, here = (", ".join(f"{key}={values[key]}" for key in unlike) for values in (before, now))
            raise VidaffError(f"{folder}: of pictures with {said}; cannot stand beside {here}")


def read_results(folder: str | Path, *, dataset: str, split: str) -> dict[str, Any]:
    """What an earlier evaluation of ``split`` wrote into ``folder``; raise :class:`VidaffError` if it is of another.

    Scores that evaluations did not always have are None, as not defined, where they are missing.
    """
    from vidaff.io import read_json

    path = Path(folder) / "results.json"
    found = read_json(path)
    needed = {"overall": dict, "intervals": dict, "mode": str, "dataset": str, "split": str, "checkpoint": str}
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in needed.items()):
        raise VidaffError(f"{path}: not the results of vidaff eval")
    if (found["dataset"], found["split"]) != (dataset, split):
        raise VidaffError(f"{path}: of {found['dataset']}, split {found['split']!r}; cannot stand beside another split")
    protocol = protocol_of(dataset)
    for name in _LATER & protocol.overall.keys() - found["overall"].keys():
        found["overall"][name], found["intervals"][name] = None, [None, None]
    names = [*protocol.overall, *(name for name in ("mean_ranked",) if name in found["overall"])]
    good = all(_is_score(found["overall"].get(name), found["intervals"].get(name)) for name in names)
    if good and protocol.stills:
        good = all(_are_scores(found.get("per_class"), metric, protocol) for metric in protocol.per_class)
    if not good:
        raise VidaffError(f"{path}: holds scores that are no numbers")
    return found


def _are_scores(per_class: Any, metric: str, protocol: Protocol) -> bool:
    """Whether results.json has a number, or null, of each class."""
    scores = per_class.get(metric) if isinstance(per_class, dict) else None
    names = protocol.taxonomy.affordances
    return isinstance(scores, dict) and all(isinstance(scores.get(name), int | float | None) for name in names)


def _is_score(value: Any, interval: Any) -> bool:
    """Whether these are a score and its interval as results.json holds them; null is a score that is not defined."""
    numbers = [value, *interval] if isinstance(interval, list) else []
    return len(numbers) == 3 and all(number is None or isinstance(number, int | float) for number in numbers)


def check_stored_flow(checkpoint: Checkpoint, clips: ClipDataset, where: str) -> None:
    """Refuse a prepared file whose flow was made in another way than that of the model's training data.

    Raises :class:`VidaffError`. A file without flow is welcome: flow is then computed as the model needs it.
    """
    if checkpoint.recipe.model.second_stream != "flow3d":
        return
    stored, trained = getattr(clips, "settings", {}), checkpoint.info
    method, wanted = stored.get("flow"), trained.get("flow_method")
    if method in (None, "none") or wanted in (None, "none"):
        return
    cure = f"prepare it again with --flow {wanted}, or pass --any-flow to score the model on it nevertheless"
    if method != wanted:
        raise VidaffError(f"{where}: holds flow by {method!r}, but the model was trained with {wanted!r}; {cure}")
    numbers = trained.get("flow_settings")
    if numbers is not None and numbers != stored.get("flow_settings"):
        raise VidaffError(f"{where}: holds flow by {method!r} with other settings than the training data; {cure}")


def open_split(
    dataset: str, data: str | Path, split: str, checkpoint: Checkpoint | DetectorCheckpoint,
    options: Mapping[str, str] | None = None,
) -> ClipDataset:  # fmt: skip
    """Open a split on the grid of the checkpoint's inputs; a prepared file keeps the size it was made with.

    Still pictures keep their recorded size, on which published numbers were made. Their protocol is that of the
    training unless ``options`` say another: the test pictures of one may be training pictures of another.
    """
    chosen = check_options(dataset, data, options or {})
    if Path(data).is_file():
        return load_dataset(dataset, data, split)
    if dataset in STILLS:
        protocol = _trained_options(checkpoint).get("protocol")
        return load_dataset(dataset, data, split, **({"protocol": protocol} if protocol else {}) | chosen)
    size = tuple(checkpoint.recipe.input.size)
    if isinstance(checkpoint, Checkpoint):
        return load_dataset(dataset, data, split, size=size, fps=checkpoint.recipe.input.fps)
    return load_dataset(dataset, data, split, size=size)


class Runner:
    """The model with everything around it: flow where the clip brings none, input coding, device.

    ``static`` drops all but the last frame's flow (clips must then be of length one); ``zero_flow`` as in
    :func:`evaluate`.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", static: bool = False, zero_flow: bool = False
    ) -> None:
        from vidaff.predict import pick_device

        recipe = checkpoint.recipe
        self.device = pick_device(device)
        self.model = checkpoint.model.to(self.device).eval()
        self.coder = InputCoder(recipe.input, recipe.model).to(self.device)
        self.static = static
        still = static or zero_flow
        self.flow_method = "none" if still else flow_method(recipe, checkpoint.info)

    def flow(self, clip: Clip, stored_method: str | None) -> np.ndarray | None:
        """Packed flow (T, H, W, 3) int16 that the model wants for ``clip``; None means no motion."""
        if self.flow_method == "none":
            return None
        usable = stored_method is None or (stored_method == "dis2d") == (self.flow_method == "dis2d")
        if clip.flow is not None and usable:
            return clip.flow
        from vidaff.datasets.prepare import compute_flow

        return compute_flow(clip, self.flow_method)

    @torch.inference_mode()
    def run(self, clips: list[Clip], flows: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """Clips of one shape -> labels (B, H, W) uint8 at the masks' size, predicted actions (B,)."""
        rgb = self._stack([clip.rgb for clip in clips])
        # Torch does next to nothing with uint16.
        depth = self._stack([None if clip.depth is None else clip.depth.astype(np.int32) for clip in clips])
        assert rgb is not None  # every clip has pictures
        rgbd, flow = self.coder(rgb, depth, self._stack(flows))
        output = self.model(rgbd, flow)
        logits = output.logits.float()
        size = clips[0].rgb.shape[1:3]
        if tuple(logits.shape[-2:]) != size:
            logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8).cpu().numpy(), output.action_logits.argmax(1).cpu().numpy()

    def _stack(self, arrays: list[np.ndarray] | list[np.ndarray | None]) -> torch.Tensor | None:
        present = [array for array in arrays if array is not None]
        if not present:
            return None
        return torch.from_numpy(np.stack(present)).to(self.device)


class _Job(NamedTuple):
    """A clip that waits for others of its shape."""

    clip: Clip
    flow: np.ndarray | None
    ranks: np.ndarray | None


def predict_split(
    runner: AnyRunner, clips: ClipDataset, count: int, batch_size: int, *, ranked: bool = False
) -> Iterator[ClipPrediction]:
    """Run the first ``count`` clips, those of equal shape together; yields them in no particular order.

    ``ranked``: with the ranks that the data set has (UMD).
    """
    stored = getattr(clips, "settings", {}).get("flow")
    waiting: dict[Any, list[_Job]] = {}
    for index in range(count):
        clip = clips.read_static(index) if runner.static else clips.read(index)
        if clip.mask is None:
            raise VidaffError(f"clip {clip.name} has no mask: it cannot be scored")
        flow = runner.flow(clip, stored)
        key = (clip.rgb.shape, clip.depth is None, flow is None)
        batch = waiting.setdefault(key, [])
        batch.append(_Job(clip, flow, clips.ranks(index) if ranked else None))  # type: ignore[attr-defined]
        if len(batch) == batch_size:
            yield from _predict(runner, waiting.pop(key))
        elif sum(map(len, waiting.values())) >= max(WAITING, batch_size):
            yield from _predict(runner, waiting.pop(max(waiting, key=lambda shape: len(waiting[shape]))))
    for batch in waiting.values():
        yield from _predict(runner, batch)


def _predict(runner: AnyRunner, batch: list[_Job]) -> Iterator[ClipPrediction]:
    labels, actions = runner.run([job.clip for job in batch], [job.flow for job in batch])
    for (clip, _, ranks), label, action in zip(batch, labels, actions, strict=True):
        assert clip.mask is not None  # checked in predict_split
        yield ClipPrediction(clip.name, clip.object, clip.rgb[-1], clip.mask, label, clip.action, int(action), ranks)


class _Collector:
    """Turns predictions into outcomes and records, keeping only the pictures of the best and the worst."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.outcomes: list[ClipOutcome] = []
        self.records: list[dict[str, Any]] = []
        actions = protocol.taxonomy.background if protocol.actions else 0
        self.actions = np.zeros((actions, actions), np.int64)
        self.best: list[tuple[float, ClipPrediction]] = []
        self.worst: list[tuple[float, ClipPrediction]] = []

    def add(self, clip: ClipPrediction) -> None:
        outcome = clip_outcome(clip, self.protocol)
        iou = float(summarise([outcome])["mean_iou"][0])
        self.outcomes.append(outcome)
        if clip.action >= 0 and clip.predicted_action >= 0:
            self.actions[clip.action, clip.predicted_action] += 1
        record: dict[str, Any] = {"name": clip.name, "object": clip.object}
        if self.protocol.actions:
            record |= {"action": action_name(clip.action), "predicted_action": action_name(clip.predicted_action)}
        self.records.append({**record, "iou": iou})
        if not math.isnan(iou):
            self.best = sorted([*self.best, (iou, clip)], key=lambda item: -item[0])[:GALLERY]
            self.worst = sorted([*self.worst, (iou, clip)], key=lambda item: item[0])[:GALLERY]

    def result(self, **about: Any) -> EvalResult:
        # Batches finish in an order that depends on their shapes; by name, the intervals do not.
        order = sorted(range(len(self.records)), key=lambda index: self.records[index]["name"])
        outcomes = [self.outcomes[index] for index in order]
        values, intervals = summarise(outcomes), bootstrap_intervals(outcomes)
        overall, per_class = self.protocol.overall, self.protocol.per_class
        return EvalResult(
            protocol=self.protocol,
            overall={name: float(values[name][0]) for name in overall},
            per_class={name: self._by_class(values[name][0]) for name in per_class},
            intervals={
                **{name: intervals[name].tolist() for name in overall},
                **{name: self._by_class(intervals[name].T) for name in per_class},
            },
            confusion=sum((outcome.confusion for outcome in outcomes), np.zeros((1, 1), np.int64)),
            actions=self.actions,
            clips=[self.records[index] for index in order],
            best=[clip for _, clip in self.best],
            worst=[clip for _, clip in self.worst],
            **about,
        )

    def _by_class(self, values: np.ndarray) -> dict[str, Any]:
        return dict(zip(self.protocol.taxonomy.affordances, values.tolist(), strict=True))


def clip_outcome(clip: ClipPrediction, protocol: Protocol = CLIPS) -> ClipOutcome:
    """Count a clip's pixels and score the classes of its truth."""
    count = protocol.taxonomy.background
    confusion = confusion_matrix(clip.labels, clip.truth, count + 1)
    scores = {beta2: np.full(count, np.nan) for beta2 in (1.0, 0.3)}
    labels = np.where(clip.truth == IGNORE, count, clip.labels)
    for index in np.flatnonzero(confusion.sum(axis=1)[:count]):
        both = weighted_precision_recall(labels == index, clip.truth == index)
        for beta2, values in scores.items():
            values[index] = f_beta(*both, beta2=beta2)
    extra = {"margolin_03": scores[0.3]}
    if protocol.stills:
        extra["margolin_legacy"] = carry_forward(scores[1.0][None])[0]
    if protocol.ranked and clip.ranks is not None:
        extra["ranked"] = np.array([ranked_f_measure(labels == i, clip.ranks[..., i]) for i in range(count)])
    known = clip.action >= 0 and clip.predicted_action >= 0
    return ClipOutcome(confusion, scores[1.0], clip.predicted_action == clip.action if known else None, extra)


def action_name(action: int) -> str | None:
    """Name of an action; None for -1, which is none."""
    return AFFORDANCES[action] if action >= 0 else None


def _plain(value: Any) -> Any:
    """Nested results as JSON types; NaN becomes None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_options(mode: str | None, batch_size: int, limit: int | None) -> None:
    if mode is not None and mode not in MODES:
        raise VidaffError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    if batch_size < 1:
        raise VidaffError(f"batch size must be at least 1, got {batch_size}")
    if limit is not None and limit < 1:
        raise VidaffError(f"limit must be at least 1, got {limit}")


def _prepare_out(out: str | Path | None, overwrite: bool) -> Path | None:
    from vidaff.io import prepare_output_dir

    return None if out is None else prepare_output_dir(out, overwrite=overwrite)


def _tracked(items: Iterable[ClipPrediction], total: int, text: str, show: bool) -> Iterator[ClipPrediction]:
    from vidaff.progress import progress_bar

    with progress_bar(shown=show) as bar:
        yield from bar.track(items, total=total, description=text)
