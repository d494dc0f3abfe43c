"""Score a pre-trained encoder on action recognition: accuracy and confusion over clips that were held out."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vidaff.datasets.utkinect import ACTIONS, OFFICIAL_SEQUENCES
from vidaff.errors import VidaffError
from vidaff.io import atomic_path, prepare_output_dir, write_json, write_text
from vidaff.models.video.encoder_checkpoint import EncoderCheckpoint, load_encoder
from vidaff.models.video.inputs import InputCoder
from vidaff.training.actions import ActionClips, ActionSplit, val_actions
from vidaff.training.workers import plainly

if TYPE_CHECKING:
    from collections.abc import Iterable

CHANCE = 1 / len(ACTIONS)


@dataclass
class ActionResult:
    """What a network says of clips. ``confusion`` (10, 10): clips, rows truth. ``clips``: one record per clip.

    ``protocol``: ``half``, or the sequence that was held out, or ``loso`` for all of them together.
    """

    checkpoint: str
    split: str
    protocol: str
    confusion: np.ndarray
    clips: list[dict[str, Any]]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of clips whose action is told rightly."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recalls(self) -> dict[str, float]:
        """Accuracy per action, NaN for actions without a clip."""
        totals = self.confusion.sum(axis=1)
        right = np.divide(np.diag(self.confusion), totals, out=np.full(len(totals), np.nan), where=totals > 0)
        return dict(zip(ACTIONS, right.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able content; undefined numbers are ``None``."""
        return {
            "checkpoint": self.checkpoint, "dataset": "utkinect", "split": self.split, "protocol": self.protocol,
            "num_clips": len(self.clips), "accuracy": self.accuracy,
            "interval": list(wilson(int(np.trace(self.confusion)), int(self.confusion.sum()))),
            "per_action": {name: None if math.isnan(value) else value for name, value in self.recalls.items()},
            "actions": list(ACTIONS), "confusion": self.confusion.tolist(), "clips": self.clips,
            "seconds": self.seconds,
        }  # fmt: skip


def evaluate_actions(
    checkpoint: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    out: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    batch_size: int = 8,
    limit: int | None = None,
    progress: bool = True,
) -> ActionResult:
    """Score an encoder of ``vidaff train --model encoder`` on UTKinect-Action3D.

    Args:
        checkpoint: what ``vidaff train`` wrote; it knows which clips it was trained on.
        data: folder in the layout of :class:`vidaff.datasets.utkinect.UTKinect`.
        split: ``val``, the clips that were held out, or ``train``.
        out: new folder for results.md, .json, .csv and confusion.png; None writes nothing.
        overwrite: write into ``out`` even if it holds files.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` ...
        batch_size: clips in one forward pass; the scores do not depend on it.
        limit: only the first clips.
        progress: show a progress bar.

    Raises:
        VidaffError: not a checkpoint of an encoder, unusable data, or ``out`` that holds files.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise VidaffError(f"batch size and limit must be at least 1, got {batch_size} and {limit}")
    loaded = load_encoder(checkpoint)
    protocol = protocol_of(loaded, checkpoint)
    chosen = ActionClips(data, loaded.recipe).split(protocol, split)
    folder = None if out is None else prepare_output_dir(out, overwrite=overwrite)
    chosen = ActionSplit(chosen.clips, chosen.chosen[:limit])
    result = score(
        loaded, chosen, checkpoint=str(checkpoint), split=split, device=device, batch_size=batch_size, progress=progress
    )
    if folder is not None:
        write_action_results(result, folder)
    return result


def protocol_of(checkpoint: EncoderCheckpoint, where: str | Path) -> str:
    """The protocol of a checkpoint's training; raise :class:`VidaffError` if it names none of this data set."""
    protocol = checkpoint.info.get("protocol")
    if checkpoint.recipe.model.num_actions != len(ACTIONS) or protocol not in ("half", *OFFICIAL_SEQUENCES):
        raise VidaffError(f"{where}: was not trained on the {len(ACTIONS)} actions of utkinect")
    return str(protocol)


@torch.inference_mode()
def score(
    loaded: EncoderCheckpoint, chosen: ActionSplit, *, checkpoint: str, split: str, device: str = "auto",
    batch_size: int = 8, progress: bool = True,
) -> ActionResult:  # fmt: skip
    """Run a loaded encoder over clips; ``checkpoint`` and ``split`` are what the result calls them."""
    from vidaff.predict import pick_device
    from vidaff.progress import progress_bar

    place = pick_device(device)
    model = loaded.model.to(place).eval()
    coder = InputCoder(loaded.recipe.coding, loaded.recipe.stream).to(place)
    confusion = np.zeros((len(ACTIONS), len(ACTIONS)), np.int64)
    records = []
    start = time.perf_counter()
    with progress_bar(shown=progress) as bar:
        loader = val_actions(chosen, batch_size)
        for batch in bar.track(plainly(loader), total=len(loader), description=f"actions {split}"):
            depth = batch["depth"].to(place) if "depth" in batch else None
            rgbd, _ = coder(batch["rgb"].to(place), depth, None)
            probs = model(rgbd, batch["length"].to(place)).softmax(1).cpu()  # (B, 10)
            for index, truth, row in zip(batch["index"].tolist(), batch["action"].tolist(), probs, strict=True):
                guess = int(row.argmax())
                confusion[truth, guess] += 1
                records.append(
                    {
                        "name": chosen.clips.info(index).name, "action": ACTIONS[truth],
                        "predicted_action": ACTIONS[guess], "probability": round(float(row[guess]), 6),
                    }
                )  # fmt: skip
    return ActionResult(
        checkpoint, split, protocol_of(loaded, checkpoint), confusion, records, time.perf_counter() - start
    )


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson): meaningful for few clips and for shares near 0 or 1."""
    z = 1.959964
    share, spread = right / total, z * z / total
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    # Rounding must not put the bounds of 0 and 1 beside them.
    low, high = (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)
    return max(0.0, low), min(1.0, high)


def write_action_results(result: ActionResult, folder: Path) -> None:
    """Write results.md, results.json, results.csv and confusion.png, each atomically."""
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.csv", _csv(result.confusion))
    write_text(folder / "results.md", action_markdown(result))
    draw_actions(result.confusion, folder / "confusion.png")


def write_folds(results: Mapping[str, ActionResult], folder: Path) -> str:
    """Write what leave-one-sequence-out came to, the same files as of one evaluation; return the table for people."""
    pooled = pool(list(results.values()), str(folder))
    accuracies = np.array([result.accuracy for result in results.values()])
    rows = [[name, str(len(result.clips)), f"{result.accuracy:.3f}"] for name, result in results.items()]
    spread = f" ± {accuracies.std(ddof=1):.3f}" if len(accuracies) > 1 else ""
    rows.append(["**mean over sequences**", str(len(pooled.clips)), f"**{accuracies.mean():.3f}**{spread}"])
    title = f"# Leave one sequence out: {len(results)} of {len(OFFICIAL_SEQUENCES)} sequences of utkinect"
    table = _table(["held out", "clips", "accuracy"], rows)
    text = f"{title}\n\n{table}\n\n{_sections(pooled)}"
    folds = {name: {"num_clips": len(result.clips), "accuracy": result.accuracy} for name, result in results.items()}
    content = {**pooled.to_dict(), "folds": folds, "mean_fold_accuracy": float(accuracies.mean())}
    write_json(folder / "results.json", content)
    write_text(folder / "results.csv", _csv(pooled.confusion))
    write_text(folder / "results.md", text)
    draw_actions(pooled.confusion, folder / "confusion.png")
    return text


def pool(results: Sequence[ActionResult], name: str) -> ActionResult:
    """All clips of several folds as one result."""
    return ActionResult(
        name, "val", "loso",
        confusion=sum((result.confusion for result in results), np.zeros((len(ACTIONS), len(ACTIONS)), np.int64)),
        clips=[record for result in results for record in result.clips],
        seconds=sum(result.seconds for result in results),
    )  # fmt: skip


def action_markdown(result: ActionResult) -> str:
    """The tables for people."""
    side = "held out" if result.split == "val" else "trained on"
    head = (
        f"# Evaluation: {result.checkpoint}\n\n{len(result.clips)} clips of utkinect, protocol `{result.protocol}`, "
        f"split `{result.split}` ({side}), {result.seconds:.0f} s"
    )
    return f"{head}\n\n{_sections(result)}"


def _sections(result: ActionResult) -> str:
    right, total = int(np.trace(result.confusion)), int(result.confusion.sum())
    low, high = wilson(right, total)
    rows = []
    for number, (name, recall) in enumerate(result.recalls.items()):
        row = result.confusion[number]
        others = [i for i in np.argsort(-row, kind="stable") if i != number and row[i]][:3]
        mistaken = ", ".join(f"{ACTIONS[i]} ({row[i]})" for i in others)
        rows.append([name, str(row.sum()), "n/a" if math.isnan(recall) else f"{recall:.3f}", mistaken or "-"])
    return (
        f"Accuracy over clips: **{result.accuracy:.3f}** ({right} of {total}; 95 % interval [{low:.3f}, {high:.3f}], "
        f"Wilson); chance is {CHANCE:.3f}.\n\n" + _table(["action", "clips", "accuracy", "taken for"], rows) + "\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def _csv(confusion: np.ndarray) -> str:
    """One row per pair of actions: truth, predicted, clips."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth", "predicted", "clips"])
    for (truth, guess), count in np.ndenumerate(confusion):
        writer.writerow([ACTIONS[truth], ACTIONS[guess], int(count)])
    return text.getvalue()


def draw_actions(confusion: np.ndarray, path: Path) -> None:
    """Heat map of the confusion, rows normalised to 1, with the clips in the cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_title("Actions of the clips")
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_xticks(range(len(ACTIONS)), ACTIONS, rotation=45, ha="right")
    axes.set_yticks(range(len(ACTIONS)), ACTIONS)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            ink = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=ink)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
