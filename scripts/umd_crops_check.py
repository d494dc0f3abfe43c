"""A tiny real check: train the static model on 36 UMD crops, test it on 11, beside the most frequent label.

    python scripts/umd_crops_check.py FOLDER [--split novel] [--init rgbd=small] [--seeds 3]

FOLDER is a tree of 47 cropped UMD frames in the set's own layout; it is read, never copied. Splits:

* ``novel``: the set's novel_split.txt, which makes 36 and 11 of these crops. Test categories were never seen.
* ``instances``: the last tool of each category that has two or more, and of the largest one more: 36 and 11.

It is no benchmark: eleven pictures decide.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from vidaff.config import load_recipe
from vidaff.datasets import load_dataset
from vidaff.datasets.umd import category, find_root, read_split
from vidaff.evaluate import ClipPrediction, EvalResult, clip_outcome, evaluate
from vidaff.metrics import summarise
from vidaff.models.baselines.majority import MajorityLabels
from vidaff.models.video.initial import parse_init
from vidaff.protocols import protocol_of
from vidaff.train import train

TEST = 11
SETTINGS = [
    "input.size=96", "train.batch_size=12", "train.epochs=200", "train.val_every=1000", "train.cache=true",
    "train.warmup_steps=30", "train.zoom=1.4", "train.shift=0.1", "train.rotate=180", "train.colour_jitter=0.4",
    "train.depth_shift=0.1",
]  # fmt: skip
"""Beside the recipe ``static``: crops of every size on one square grid, seen often, from all sides."""
ROWS = ("mean IoU", "pixel accuracy", "weighted F")


def pick_split(root: Path, which: str) -> dict[str, int]:
    """Tools of the tree: 1 trains, 2 tests."""
    tools = sorted(folder.name for folder in (root / "tools").iterdir() if folder.is_dir())
    if which == "novel":
        official = read_split(root / "novel_split.txt")
        return {tool: official[tool] for tool in tools}
    by_category: dict[str, list[str]] = {}
    for tool in tools:
        by_category.setdefault(category(tool), []).append(tool)
    several = [names for names in by_category.values() if len(names) > 1]
    test = [names[-1] for names in several]
    largest = max(several, key=len)
    test += largest[-1 - (TEST - len(test)) : -1]
    return {tool: 2 if tool in test else 1 for tool in tools}


def make_tree(root: Path, split: dict[str, int], folder: Path) -> Path:
    """A tree whose category_split.txt is ``split``; its pictures are links."""
    (folder / "tools").symlink_to((root / "tools").resolve(), target_is_directory=True)
    (folder / "category_split.txt").write_text("".join(f"{side} {tool}\n" for tool, side in split.items()))
    return folder


def numbers(confusion: np.ndarray, mean_iou: float, weighted_f: float) -> list[float]:
    return [mean_iou, float(np.trace(confusion) / confusion.sum()), weighted_f]


def majority(tree: Path) -> list[float]:
    """Scores of the most frequent label per category and place."""
    protocol = protocol_of("umd")
    train_set, test_set = (load_dataset("umd", tree, split) for split in ("train", "val"))
    seen = (train_set.read(index) for index in range(len(train_set)))
    model = MajorityLabels(((clip.object, clip.mask) for clip in seen), len(protocol.taxonomy.classes))
    outcomes = []
    for clip in (test_set.read(index) for index in range(len(test_set))):
        labels = model.predict(clip.object, clip.mask.shape)
        shown = ClipPrediction(clip.name, clip.object, clip.rgb[-1], clip.mask, labels, -1, -1)
        outcomes.append(clip_outcome(shown, protocol))
    values = summarise(outcomes)
    confusion = sum(outcome.confusion for outcome in outcomes)
    return numbers(confusion, float(values["mean_iou"][0]), float(values["mean_margolin"][0]))


def static_model(tree: Path, out: Path, options: argparse.Namespace, seed: int) -> EvalResult:
    recipe = load_recipe("static", [*SETTINGS, f"train.seed={seed}", *options.overrides])
    best = train(recipe, tree, out, dataset="umd", init=parse_init(options.init), device=options.device, progress=False)
    return evaluate(best, tree, dataset="umd", out=out / "eval", overwrite=True, device=options.device, progress=False)


def check(root: Path, which: str, options: argparse.Namespace, folder: Path) -> None:
    split = pick_split(root, which)
    (folder / which).mkdir(parents=True)
    tree = make_tree(root, split, folder / which)
    sides = list(split.values())
    print(f"## {which}: {sides.count(1)} train, {sides.count(2)} test\n")
    scores = {"most frequent label": majority(tree)}
    for seed in range(options.seeds):
        begun = time.process_time()
        result = static_model(tree, folder / which / f"run{seed}", options, seed)
        overall = result.overall
        name = f"static model, seed {seed}, {time.process_time() - begun:.0f} s of CPU"
        scores[name] = numbers(result.confusion, overall["mean_iou"], overall["mean_margolin"])
    print("| | " + " | ".join(ROWS) + " |\n|" + "---|" * (len(ROWS) + 1))
    for name, row in scores.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=["novel", "instances", "both"], default="both")
    parser.add_argument("--init", action="append", default=[], metavar="rgbd=PATH")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="keep the runs here instead of nowhere")
    options = parser.parse_args()
    root = find_root(options.folder)
    splits = ["novel", "instances"] if options.split == "both" else [options.split]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.path.abspath(options.out or temporary))
        for which in splits:
            check(root, which, options, folder)


if __name__ == "__main__":
    main()
