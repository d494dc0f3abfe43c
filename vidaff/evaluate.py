"""Evaluate a checkpoint on a split of clips: ``video`` (the whole clip, last frame scored) or ``static`` (last frame).

The work is three steps: :func:`predict_split` runs the model and yields one :class:`ClipPrediction` per clip,
:mod:`vidaff.metrics` turns them into scores, :mod:`vidaff.results` writes the files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vidaff.datasets import Clip, ClipDataset, load_dataset
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, CLASSES, IGNORE, NUM_AFFORDANCES
from vidaff.errors import VidaffError
from vidaff.metrics import ClipOutcome, bootstrap_intervals, confusion_matrix, summarise, weighted_f_measure
from vidaff.models.video.inputs import InputCoder
from vidaff.weights import Checkpoint, checkpoint_format, flow_method, load_checkpoint

if TYPE_CHECKING:
    from vidaff.models.baselines.checkpoint import DetectorCheckpoint
    from vidaff.models.baselines.runner import DetectorRunner

MODES = ("video", "static")
OVERALL_METRICS = {
    "mean_iou": "IoU",
    "mean_f1": "F",
    "f_w": "F_w",
    "mean_margolin": "Margolin F",
    "action_accuracy": "action accuracy",
}
"""Overall metrics in the order of the tables: key -> heading."""
CLASS_METRICS = {"iou": "IoU", "f1": "F", "margolin": "Margolin F"}
GALLERY = 6
"""Clips kept for the pictures of the best and of the worst."""


@dataclass(frozen=True)
class ClipPrediction:
    """One clip's last frame as the model sees it and as it should.

    ``rgb`` (H, W, 3) uint8, ``truth`` and ``labels`` (H, W) uint8 class ids (truth also 255 = ignore);
    ``action`` and ``predicted_action`` ids 0..8 (-1 = unknown; AffordanceNet predicts none).
    """

    name: str
    object: str
    rgb: np.ndarray
    truth: np.ndarray
    labels: np.ndarray
    action: int
    predicted_action: int


@dataclass
class EvalResult:
    """All results of one evaluation; undefined numbers are NaN here and ``None`` in :meth:`to_dict`.

    ``overall``: metric -> value; ``per_class``: metric -> affordance -> value; ``intervals``: the same keys, each
    (low, high) of the 95 % bootstrap over clips. ``confusion`` (10, 10) pixels and ``actions`` (9, 9) clips, rows
    truth. ``clips``: one record per clip. ``model``: ``video`` or ``affordancenet``. ``best``, ``worst``: predictions
    kept for pictures. ``beside``: results of earlier evaluations to be shown in the same table.
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
    beside: list[dict[str, Any]] = field(default_factory=list, repr=False)
    best: list[ClipPrediction] = field(default_factory=list, repr=False)
    worst: list[ClipPrediction] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content, without the pictures."""
        kept = {key: value for key, value in vars(self).items() if key not in ("best", "worst", "beside")}
        content: dict[str, Any] = _plain({**kept, "num_clips": len(self.clips), "classes": CLASSES})
        return content


def evaluate(
    checkpoint: str | Path | Checkpoint | DetectorCheckpoint,
    data: str | Path | ClipDataset,
    *,
    mode: str | None = None,
    split: str = "val",
    dataset: str = "sor3d-aff",
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
            and zero flow. None takes ``video`` for the video model, and ``static``, all it can do, for AffordanceNet.
        split: ``train`` or ``val``; ignored for an open split.
        dataset: registered name, see :data:`vidaff.datasets.DATASETS`.
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
        VidaffError: unknown mode, missing checkpoint or data, clips without labels, stored flow of another kind,
            ``out`` that holds files.

    Source: Thermos et al., ICASSP 2020, section 4.2.
    """
    _check_options(mode, batch_size, limit)
    others = [read_results(folder, dataset=dataset, split=split) for folder in beside]
    loaded = _open_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
    mode = _mode(loaded, mode)
    clips = data if isinstance(data, ClipDataset) else open_split(dataset, data, split, loaded)
    if not len(clips):
        raise VidaffError(f"{data}: split {split!r} holds no clip")
    if isinstance(loaded, Checkpoint) and mode == "video" and not zero_flow and not any_flow:
        check_stored_flow(loaded, clips, str(data) if isinstance(data, str | Path) else "the data")
    folder = _prepare_out(out, overwrite)
    runner = _runner(loaded, device=device, static=mode == "static", zero_flow=zero_flow)
    count = min(len(clips), limit or len(clips))
    start = time.perf_counter()
    scored = _Collector()
    for prediction in _tracked(predict_split(runner, clips, count, batch_size), count, f"{mode} {split}", progress):
        scored.add(prediction)
    name = str(checkpoint) if isinstance(checkpoint, str | Path) else "loaded model"
    result = scored.result(
        mode=mode, split=split, dataset=dataset, checkpoint=name, zero_flow=zero_flow or mode == "static",
        seconds=time.perf_counter() - start, model="video" if isinstance(loaded, Checkpoint) else "affordancenet",
        beside=others,
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


def _mode(checkpoint: Checkpoint | DetectorCheckpoint, mode: str | None) -> str:
    if isinstance(checkpoint, Checkpoint):
        return mode or "video"
    if mode == "video":
        raise VidaffError("AffordanceNet sees single pictures, not clips; evaluate it with --mode static")
    return "static"


def _runner(
    checkpoint: Checkpoint | DetectorCheckpoint, *, device: str, static: bool, zero_flow: bool
) -> Runner | DetectorRunner:
    if isinstance(checkpoint, Checkpoint):
        return Runner(checkpoint, device=device, static=static, zero_flow=zero_flow)
    from vidaff.models.baselines.runner import DetectorRunner

    return DetectorRunner(checkpoint, device=device)


def read_results(folder: str | Path, *, dataset: str, split: str) -> dict[str, Any]:
    """What an earlier evaluation of ``split`` wrote into ``folder``; raise :class:`VidaffError` if it is of another."""
    from vidaff.io import read_json

    path = Path(folder) / "results.json"
    found = read_json(path)
    needed = {"overall": dict, "intervals": dict, "mode": str, "dataset": str, "split": str, "checkpoint": str}
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in needed.items()):
        raise VidaffError(f"{path}: not the results of vidaff eval")
    if not all(_is_score(found["overall"].get(name), found["intervals"].get(name)) for name in OVERALL_METRICS):
        raise VidaffError(f"{path}: holds scores that are no numbers")
    if (found["dataset"], found["split"]) != (dataset, split):
        raise VidaffError(f"{path}: of {found['dataset']}, split {found['split']!r}; cannot stand beside another split")
    return found


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


def open_split(dataset: str, data: str | Path, split: str, checkpoint: Checkpoint | DetectorCheckpoint) -> ClipDataset:
    """Open a split on the grid of the checkpoint's inputs; a prepared file keeps the size it was made with."""
    if Path(data).is_file():
        return load_dataset(dataset, data, split)
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
        if recipe.model.num_affordances != NUM_AFFORDANCES:
            raise VidaffError(
                f"the checkpoint knows {recipe.model.num_affordances} affordances, the data {NUM_AFFORDANCES}"
            )
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


def predict_split(
    runner: Runner | DetectorRunner, clips: ClipDataset, count: int, batch_size: int
) -> Iterator[ClipPrediction]:
    """Run the first ``count`` clips, those of equal shape together; yields them in no particular order."""
    stored = getattr(clips, "settings", {}).get("flow")
    waiting: dict[Any, list[tuple[Clip, np.ndarray | None]]] = {}
    for index in range(count):
        clip = clips.read_static(index) if runner.static else clips.read(index)
        if clip.mask is None:
            raise VidaffError(f"clip {clip.name} has no mask: it cannot be scored")
        flow = runner.flow(clip, stored)
        key = (clip.rgb.shape, clip.depth is None, flow is None)
        batch = waiting.setdefault(key, [])
        batch.append((clip, flow))
        if len(batch) == batch_size:
            yield from _predict(runner, waiting.pop(key))
    for batch in waiting.values():
        yield from _predict(runner, batch)


def _predict(runner: Runner | DetectorRunner, batch: list[tuple[Clip, np.ndarray | None]]) -> Iterator[ClipPrediction]:
    clips = [clip for clip, _ in batch]
    labels, actions = runner.run(clips, [flow for _, flow in batch])
    for clip, label, action in zip(clips, labels, actions, strict=True):
        assert clip.mask is not None  # checked in predict_split
        yield ClipPrediction(clip.name, clip.object, clip.rgb[-1], clip.mask, label, clip.action, int(action))


class _Collector:
    """Turns predictions into outcomes and records, keeping only the pictures of the best and the worst."""

    def __init__(self) -> None:
        self.outcomes: list[ClipOutcome] = []
        self.records: list[dict[str, Any]] = []
        self.actions = np.zeros((NUM_AFFORDANCES, NUM_AFFORDANCES), np.int64)
        self.best: list[tuple[float, ClipPrediction]] = []
        self.worst: list[tuple[float, ClipPrediction]] = []

    def add(self, clip: ClipPrediction) -> None:
        outcome = clip_outcome(clip)
        iou = float(summarise([outcome])["mean_iou"][0])
        self.outcomes.append(outcome)
        if clip.action >= 0 and clip.predicted_action >= 0:
            self.actions[clip.action, clip.predicted_action] += 1
        self.records.append(
            {
                "name": clip.name,
                "object": clip.object,
                "action": action_name(clip.action),
                "predicted_action": action_name(clip.predicted_action),
                "iou": iou,
            }
        )
        if not math.isnan(iou):
            self.best = sorted([*self.best, (iou, clip)], key=lambda item: -item[0])[:GALLERY]
            self.worst = sorted([*self.worst, (iou, clip)], key=lambda item: item[0])[:GALLERY]

    def result(self, **about: Any) -> EvalResult:
        # Batches finish in an order that depends on their shapes; by name, the intervals do not.
        order = sorted(range(len(self.records)), key=lambda index: self.records[index]["name"])
        outcomes = [self.outcomes[index] for index in order]
        values, intervals = summarise(outcomes), bootstrap_intervals(outcomes)
        return EvalResult(
            overall={name: float(values[name][0]) for name in OVERALL_METRICS},
            per_class={name: _by_class(values[name][0]) for name in CLASS_METRICS},
            intervals={
                **{name: intervals[name].tolist() for name in OVERALL_METRICS},
                **{name: _by_class(intervals[name].T) for name in CLASS_METRICS},
            },
            confusion=sum((outcome.confusion for outcome in outcomes), np.zeros((1, 1), np.int64)),
            actions=self.actions,
            clips=[self.records[index] for index in order],
            best=[clip for _, clip in self.best],
            worst=[clip for _, clip in self.worst],
            **about,
        )


def clip_outcome(clip: ClipPrediction) -> ClipOutcome:
    """Count a clip's pixels and score the classes of its truth."""
    confusion = confusion_matrix(clip.labels, clip.truth, NUM_AFFORDANCES + 1)
    margolin = np.full(NUM_AFFORDANCES, np.nan)
    labels = np.where(clip.truth == IGNORE, BACKGROUND, clip.labels)
    for index in np.flatnonzero(confusion.sum(axis=1)[:NUM_AFFORDANCES]):
        margolin[index] = weighted_f_measure(labels == index, clip.truth == index)
    known = clip.action >= 0 and clip.predicted_action >= 0
    return ClipOutcome(confusion, margolin, clip.predicted_action == clip.action if known else None)


def action_name(action: int) -> str | None:
    """Name of an action; None for -1, which is none."""
    return AFFORDANCES[action] if action >= 0 else None


def _by_class(values: np.ndarray) -> dict[str, Any]:
    return dict(zip(AFFORDANCES, values.tolist(), strict=True))


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
