"""The whole labelling on a miniature of AGD20K, and a command that runs it, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.toy_agd20k import write_toy_tree
from vidaff.datasets.agd20k import LabelFolder, Picture
from vidaff.labels.chain import Labelling
from vidaff.labels.engine import Engine
from vidaff.labels.label_recipe import LabelRecipe, load_label_recipe

TINY = """
part:
  detector: {kind: file, weights: "{trainset}/labels/boxes"}
  segmenter: {kind: file, weights: "{trainset}/labels/initial"}
object:
  detector: {kind: file, weights: "{trainset}/labels/boxes"}
  segmenter: {kind: file, weights: "{trainset}/labels/objects"}
encoder: {weights: null, dim: 32, clip: {width: 24, layers: 1, heads: 3, patch: 8, grid: 6}, size: [48, 48]}
text: {kind: spelling}
refine:
  model: {dim: 32, clip: {width: 24, layers: 1, heads: 3, patch: 8, grid: 6}, decoder: {mlp_dim: 48, depth: 1}}
  input: {size: [48, 48]}
  train: {epochs: 2, batch_size: 8, micro_batch: 8, lr: 3.0e-3, encoder_lr: 1.0, num_exo: 1, pairs: all}
  use: {threshold: 0.4}
clean: {regions: felzenszwalb, felzenszwalb: {scale: 50, sigma: 0, min_size: 20}, whole: 1.5}
"""


def write_tree(folder: Path) -> Path:
    """Every initial label marks the whole bar, in boxes with a margin: what fills its box counts as inside out."""
    root = write_toy_tree(folder, train=4, test=1, refined=False)
    labels = LabelFolder(root / "Seen" / "trainset" / "labels")
    for view in ("egocentric", "exocentric"):
        boxes = labels.read_boxes(view)
        for name, ((left, top, right, bottom, _),) in boxes.items():
            mask = np.zeros((96, 96), np.uint8)
            mask[int(top) : int(bottom), int(left) : int(right)] = 255
            labels.write_mask(f"objects/{view}", Picture(*name.split("/")), mask)
        labels.write_boxes(view, {name: np.add(rows, [-3, -3, 3, 3, 0]) for name, rows in boxes.items()})
    return root


def tiny_recipe(folder: Path) -> LabelRecipe:
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return load_label_recipe(path)


def labelling(tree: Path, out: Path, recipe: LabelRecipe, **changes) -> Labelling:
    return Labelling(tree, out, recipe, **{"progress": False, "device": "cpu", "shard_size": 5, **changes})


def content(folder: Path, *kinds: str) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for kind in kinds
        for file in sorted((folder / kind).rglob("*.*"))
    }


def main() -> None:
    tree, out, recipe, kind = sys.argv[1:]
    engine = Engine(kind, workers=1 if kind == "local" else 2)
    labelling(Path(tree), Path(out), load_label_recipe(recipe), engine=engine).run()


if __name__ == "__main__":
    # Under its importable name, which is what spawned workers look for.
    from tests.labels import toy_chain

    toy_chain.main()
