"""Evaluate heat maps on AGD20K: a network's, for every test picture and its affordance.

The work is three steps: :func:`predict_heatmaps` runs the network and yields one :class:`HeatmapPrediction` per item,
:mod:`vidaff.metrics.heatmaps` scores it, :mod:`vidaff.results_grounder` writes the files. Folders of maps that another
program made are scored by ``vidaff metrics --dataset agd20k``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from vidaff.datasets.agd20k import Agd20kTest, TestSample
from vidaff.errors import VidaffError
from vidaff.grounding import picture_input
from vidaff.grounding_words import missing_here, tower_settings
from vidaff.io import prepare_output_dir, read_json
from vidaff.metrics.heatmaps import PROTOCOLS, SIZE, heatmap_scores, resize_heatmap
from vidaff.models.image.checkpoint import load_grounder
from vidaff.models.image.grounder import GroundingNet
from vidaff.models.image.heatmaps import to_heatmaps
from vidaff.models.image.recipe import SELECTIONS, PictureInput
from vidaff.models.image.text_table import FILE as TEXT_FILE
from vidaff.models.image.text_table import TextTable, make_text_encoder
from vidaff.weights import checkpoint_format

METRICS = ("kld", "sim", "nss")
GALLERY = 6
"""Items kept for the pictures of the best and of the worst."""
RESAMPLES = 1000


@dataclass(frozen=True)
class HeatmapPrediction:
    """One test picture, ``index`` in its data set: ``heat`` and ``truth`` (224, 224) sum to 1."""

    index: int
    heat: np.ndarray
    truth: np.ndarray


Scores = dict[str, float]
"""``<metric>_<protocol>`` -> value, for instance ``kld_plsp``; SIM is the same in both protocols."""


@dataclass
class GroundingResult:
    """All results of one evaluation.

    overall: score -> mean over items; intervals: score -> (low, high), 95 % bootstrap over items. affordances,
    objects: name -> ``items`` and every score with its interval. references: the same means for maps that know nothing
    of the picture. items: one record per item. select: how the checkpoint's epoch was chosen, "" where unknown.
    best, worst: the predictions kept for pictures. beside: results of earlier evaluations.
    """

    checkpoint: str
    model: str
    split: str
    protocols: list[str]
    select: str
    overall: Scores
    intervals: dict[str, tuple[float, float]]
    affordances: dict[str, dict[str, Any]]
    objects: dict[str, dict[str, Any]]
    references: dict[str, Scores]
    items: list[dict[str, Any]]
    seconds: float
    dataset: str = "agd20k"
    beside: list[dict[str, Any]] = field(default_factory=list, repr=False)
    best: list[HeatmapPrediction] = field(default_factory=list, repr=False)
    worst: list[HeatmapPrediction] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content, without the pictures."""
        return {key: value for key, value in vars(self).items() if key not in ("best", "worst", "beside")}


class TextModel(NamedTuple):
    """A text tower that the user names: see :func:`vidaff.grounding_words.tower_settings`."""

    source: str
    tokenizer: str | None = None
    template: str | None = None


class GroundingRunner:
    """The grounding network with its text features.

    Args:
        folder: checkpoint of ``vidaff train``, or one of ``vidaff convert plsp``, which needs ``text``.
        text: the user's text tower; else text features are the checkpoint's.
        device: ``auto``, ``cpu``, ``cuda`` ...

    Raises:
        VidaffError: no checkpoint of a grounding network, or no text features.
    """

    name = "grounder"

    def __init__(self, folder: str | Path, *, text: TextModel | None = None, device: str = "auto") -> None:
        from vidaff.predict import pick_device

        loaded = load_grounder(folder)
        if not isinstance(loaded.model, GroundingNet):
            raise VidaffError(f"{folder}: holds a refinement network, which grounds no affordances")
        self.info, self.dim = loaded.info, loaded.settings.dim
        self.device = pick_device(device)
        self.model = loaded.model.to(self.device).eval()
        self.inputs: PictureInput = picture_input(self.info, loaded.model)
        self._text(folder, text)

    def _text(self, folder: str | Path, text: TextModel | None) -> None:
        self.known: dict[str, torch.Tensor] = {}
        self.by_user = text is not None
        where = Path(folder) if Path(folder).is_dir() else Path(folder).parent
        table, stored = TextTable.load(where) if text is None or (where / TEXT_FILE).is_file() else (None, None)
        self.settings = stored if text is None else tower_settings(stored, *text)
        if text is None and table is not None:
            if table.dim != self.dim:
                raise VidaffError(f"{where}: text features of {table.dim} numbers, the network has {self.dim}")
            self.known = table.verbs

    def ask(self, names: Iterable[str]) -> None:
        """Make text features of all affordances ``names`` that have none yet."""
        new = sorted(set(names) - set(self.known))
        if not new or self.settings is None:
            return
        if self.settings.kind == "clip" and not self.by_user and (away := missing_here(self.settings)):
            raise VidaffError(
                f"{', '.join(new[:3])}: the checkpoint has no text feature of this, and its text tower {away!r} is not "
                "here and is not downloaded unasked; name it (text model)"
            )
        self.known = {**self.known, **dict(zip(new, make_text_encoder(self.settings, self.dim)(new), strict=True))}

    @torch.inference_mode()
    def heat(self, images: torch.Tensor, affordances: Sequence[str], size: tuple[int, int]) -> torch.Tensor:
        """Heat maps (B, H, W) of one affordance on each of ``images`` (B, 3, S, S)."""
        text = torch.stack([self.known[name] for name in affordances])
        return to_heatmaps(self.model(images.to(self.device), text.to(self.device)), size)[:, 0]


def evaluate_grounder(
    checkpoint: str | Path,
    data: str | Path,
    *,
    split: str = "seen",
    protocols: Sequence[str] = PROTOCOLS,
    manifest: str | Path | None = None,
    text: TextModel | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    batch_size: int = 8,
    limit: int | None = None,
    beside: Sequence[str | Path] = (),
    progress: bool = True,
) -> GroundingResult:
    """Score a checkpoint of the image branch on the test pictures of AGD20K.

    Args:
        checkpoint: folder of ``vidaff train --dataset agd20k`` or of ``vidaff convert plsp``.
        data: root of AGD20K, or of a tree of the same layout.
        split: ``seen``, ``unseen`` or ``hard``.
        protocols: of :data:`vidaff.metrics.heatmaps.PROTOCOLS`.
        manifest: which objects test, for ``hard``.
        text: the user's text tower; None takes the text features of the checkpoint.
        out: new folder for results.md, .json, .csv, best.png and worst.png; None writes nothing.
        overwrite: write into ``out`` even if it holds files.
        device: ``auto``, ``cpu``, ``cuda`` ...
        batch_size: items in one forward pass.
        limit: only the first items.
        beside: folders of earlier evaluations of the same split, to be shown in the same table.
        progress: show a progress bar.

    Raises:
        VidaffError: missing checkpoint or data, unknown protocol, ``out`` that holds files.

    Source: Xu et al., ICLR 2025, section 4.1; the means are over items, not over classes, as there.
    """
    unknown = sorted(set(protocols) - set(PROTOCOLS))
    if unknown or not protocols:
        raise VidaffError(f"unknown protocol {', '.join(unknown) or '(none)'}; known: {', '.join(PROTOCOLS)}")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise VidaffError("batch size and limit must be at least 1")
    others = [read_earlier(folder, split, protocols) for folder in beside]
    runner = open_runner(checkpoint, text=text, device=device)
    inputs = runner.inputs
    test = Agd20kTest(data, split, size=inputs.size[0], mean=inputs.mean, std=inputs.std, manifest=manifest)
    count = min(len(test), limit or len(test))
    if not count:
        raise VidaffError(f"{data}: split {split!r} holds no test pictures with ground truth")
    folder = None if out is None else prepare_output_dir(out, overwrite=overwrite)
    start = time.perf_counter()
    scored = _Collector(test, [name for name in PROTOCOLS if name in protocols])
    for prediction in _tracked(predict_heatmaps(runner, test, count, batch_size), count, split, progress):
        scored.add(prediction)
    select = str(runner.info.get("select", ""))
    result = scored.result(
        checkpoint=str(checkpoint), model=runner.name, split=split, select=select if select in SELECTIONS else "",
        seconds=time.perf_counter() - start, beside=others,
    )  # fmt: skip
    if folder is not None:
        from vidaff.results_grounder import write_results

        write_results(result, test, folder)
    return result


class HeatmapRunner(Protocol):
    """A network of the image branch as the evaluation sees it.

    ``name`` of the model, ``info`` of its checkpoint, ``inputs`` that it was trained with.
    """

    name: str
    info: dict[str, Any]
    inputs: PictureInput

    def ask(self, names: Iterable[str]) -> None:
        """Get ready for the affordances ``names``; raise :class:`VidaffError` for one that cannot be asked."""

    def heat(self, images: torch.Tensor, affordances: Sequence[str], size: tuple[int, int]) -> torch.Tensor:
        """Heat maps (B, H, W) >= 0 of one affordance on each of ``images`` (B, 3, S, S)."""


def open_runner(checkpoint: str | Path, *, text: TextModel | None = None, device: str = "auto") -> HeatmapRunner:
    """The runner for a checkpoint of the image branch, by what the checkpoint says it is."""
    kind = checkpoint_format(checkpoint)
    if kind == "vidaff-cam":
        from vidaff.models.baselines.cam import CamRunner

        if text is not None:
            raise VidaffError(f"{checkpoint}: the CAM baseline takes no words, leave the text model out")
        return CamRunner(checkpoint, device=device)
    if kind == "vidaff-image":
        return GroundingRunner(checkpoint, text=text, device=device)
    raise VidaffError(
        f"{checkpoint}: holds a model of another kind ({kind}); agd20k needs a grounder or a CAM baseline"
    )


def predict_heatmaps(
    runner: HeatmapRunner, test: Agd20kTest, count: int, batch_size: int
) -> Iterator[HeatmapPrediction]:
    """Heat maps of the first ``count`` items, in order."""
    names = [picture.affordance for picture in test.pictures[:count]]
    runner.ask(names)
    for start in range(0, count, batch_size):
        samples = [test[index] for index in range(start, min(start + batch_size, count))]
        images = torch.from_numpy(np.stack([sample.image for sample in samples]))
        heats = runner.heat(images, names[start : start + len(samples)], (SIZE, SIZE))
        for number, (sample, heat) in enumerate(zip(samples, heats.cpu().numpy(), strict=True), start=start):
            yield HeatmapPrediction(number, heat, true_map(test, sample))


def true_map(test: Agd20kTest, sample: TestSample) -> np.ndarray:
    """Ground truth (224, 224) of an item, sums to 1: the size of comparison is not that of a network's input."""
    if sample.heatmap.shape[-2:] == (SIZE, SIZE):
        return np.asarray(sample.heatmap)[0]
    truth = resize_heatmap(test.ground_truth(int(sample.index)))
    even: np.ndarray = truth / truth.sum()
    return even


class _Collector:
    """Turns predictions into records, keeping only the maps of the best and the worst."""

    def __init__(self, test: Agd20kTest, protocols: list[str]) -> None:
        self.test, self.protocols = test, protocols
        self.keys = score_keys(protocols)
        self.records: list[dict[str, Any]] = []
        self.references: dict[str, list[Scores]] = {name: [] for name in REFERENCES}
        self.best: list[tuple[float, HeatmapPrediction]] = []
        self.worst: list[tuple[float, HeatmapPrediction]] = []

    def add(self, item: HeatmapPrediction) -> None:
        picture = self.test.pictures[item.index]
        scores = all_scores(item.heat, item.truth, self.protocols)
        self.records.append(
            {"name": picture.name, "affordance": picture.affordance, "object": picture.object, **scores}
        )
        for name, make in REFERENCES.items():
            self.references[name].append(all_scores(make(item.truth.shape[0]), item.truth, self.protocols))
        value = scores[self.keys[0]]
        self.best = sorted([*self.best, (value, item)], key=lambda pair: pair[0])[:GALLERY]
        self.worst = sorted([*self.worst, (value, item)], key=lambda pair: -pair[0])[:GALLERY]

    def result(self, **about: Any) -> GroundingResult:
        overall, intervals = self._summary(range(len(self.records)))
        return GroundingResult(
            protocols=self.protocols,
            overall=overall,
            intervals=intervals,
            affordances=self._groups("affordance"),
            objects=self._groups("object"),
            references={name: _means(rows, self.keys) for name, rows in self.references.items()},
            items=self.records,
            best=[item for _, item in self.best],
            worst=[item for _, item in self.worst],
            **about,
        )

    def _groups(self, key: str) -> dict[str, dict[str, Any]]:
        groups: dict[str, list[int]] = {}
        for number, record in enumerate(self.records):
            groups.setdefault(record[key], []).append(number)
        found = {}
        for name, numbers in sorted(groups.items()):
            values, intervals = self._summary(numbers)
            found[name] = {"items": len(numbers), **values, "intervals": intervals}
        return found

    def _summary(self, numbers: Sequence[int]) -> tuple[Scores, dict[str, tuple[float, float]]]:
        rows = np.array([[self.records[number][key] for key in self.keys] for number in numbers])
        low, high = mean_intervals(rows)
        intervals = {key: (float(low[i]), float(high[i])) for i, key in enumerate(self.keys)}
        return dict(zip(self.keys, rows.mean(axis=0).tolist(), strict=True)), intervals


def score_keys(protocols: Sequence[str]) -> list[str]:
    """Scores of an evaluation, protocol by protocol."""
    return [f"{metric}_{protocol}" for protocol in protocols for metric in METRICS]


def all_scores(heat: np.ndarray, truth: np.ndarray, protocols: Sequence[str]) -> Scores:
    """Every score of one map (H, W)."""
    found = {}
    for protocol in protocols:
        scores = heatmap_scores(heat, truth, protocol=protocol)
        found.update({f"{metric}_{protocol}": getattr(scores, metric) for metric in METRICS})
    return found


def mean_intervals(rows: np.ndarray, *, level: float = 0.95, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap of the means of ``rows`` (n, K), rows drawn with replacement: low (K,), high (K,)."""
    count = len(rows)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(draws @ rows / count, [tail, 100 - tail], axis=0)
    return low, high


def even_map(size: int) -> np.ndarray:
    """The same everywhere (size, size)."""
    return np.full((size, size), 1 / size**2)


def centre_map(size: int) -> np.ndarray:
    """A Gaussian (size, size) about the centre, its standard deviation a quarter of the side."""
    line = np.exp(-0.5 * ((np.arange(size) + 0.5) / size * 4 - 2) ** 2)
    heat = np.outer(line, line)
    centred: np.ndarray = heat / heat.sum()
    return centred


REFERENCES: dict[str, Callable[[int], np.ndarray]] = {"even map": even_map, "centre map": centre_map}
"""Maps that know nothing of the picture: what a network must beat to have learned anything."""


def _means(rows: Sequence[Mapping[str, float]], keys: Sequence[str]) -> Scores:
    return {key: float(np.mean([row[key] for row in rows])) for key in keys}


def read_earlier(folder: str | Path, split: str, protocols: Sequence[str]) -> dict[str, Any]:
    """What an earlier evaluation of ``split`` wrote; raise :class:`VidaffError` if it is of another split."""
    path = Path(folder) / "results.json"
    found = read_json(path)
    if not isinstance(found, dict) or found.get("dataset") != "agd20k" or not isinstance(found.get("overall"), dict):
        raise VidaffError(f"{path}: not the results of vidaff eval --dataset agd20k")
    if found.get("split") != split:
        raise VidaffError(f"{path}: of the split {found.get('split')!r}; cannot stand beside {split!r}")
    for key in score_keys(protocols):
        interval = (found.get("intervals") or {}).get(key)
        numbers = [found["overall"].get(key), *(interval if isinstance(interval, list) else [])]
        if len(numbers) != 3 or not all(isinstance(number, int | float) for number in numbers):
            raise VidaffError(f"{path}: holds no {key}; it was made with other protocols, or is damaged")
    return found


def _tracked(items: Iterable[HeatmapPrediction], total: int, text: str, show: bool) -> Iterator[HeatmapPrediction]:
    from vidaff.progress import progress_bar

    with progress_bar(shown=show) as bar:
        yield from bar.track(items, total=total, description=text)
