"""AGD20K trees for tests: the golden miniature, and a smaller one written byte for byte in our format."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from vidaff.datasets.agd20k import (
    Agd20kTrain,
    Box,
    Draw,
    LabelFolder,
    Picture,
    SimilarityTable,
    Stitch,
    TextFeatures,
    write_text_features,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "wsag"
PAIRS = (("carry", "skis"), ("cut_with", "knife"), ("hold", "fork"), ("hold", "knife"), ("ride", "bicycle"))
HEIGHT, WIDTH = 40, 56


def unpack_golden(folder: Path) -> Path:
    with zipfile.ZipFile(GOLDEN / "mini_agd20k.zip") as archive:
        archive.extractall(folder)
    return folder


def golden_records() -> dict[str, dict]:
    return json.loads((GOLDEN / "agd20k_samples.json").read_text())


def replay(train: Agd20kTrain, index: int, log: list[list], *, other_verb: bool) -> Draw:
    """The draws of the authors' run: box, exocentric picture, crop, mirroring, three negatives, quadrant."""
    assert log[0][1] == [0, train.boxes(index)]
    pool = train.exo_pool(index, log[0][2])
    assert log[1][1] == len(pool)
    exo = sorted(pool)[int(log[1][2])]  # the log names the column of the table
    stitch = None
    if len(log) > 4:
        words = [entry[2] for entry in log[5:14]]
        triples = [words[start : start + 3] for start in (0, 3, 6)]
        pictures = [Picture(a, b, file) if other_verb else Picture(b, a, file) for a, b, file in triples]
        stitch = Stitch((pictures[0], pictures[1], pictures[2]), log[14][2])
    return Draw((exo,), log[2][1], log[2][2], log[3][1] < 0.5, stitch)


def write_tree(root: Path, *, count: int = 3, splits: tuple[str, ...] = ("Seen", "Unseen")) -> Path:
    """Splits with labels of ours; ``count`` pictures of each kind, of 56x40 pixels; marked as rendered."""
    rng = np.random.default_rng(0)
    for split in splits:
        trainset, testset = root / split / "trainset", root / split / "testset"
        labels = LabelFolder(trainset / "labels")
        boxes: dict[str, dict[str, list]] = {"egocentric": {}, "exocentric": {}}
        for pair in PAIRS:
            names = {
                view: [Picture(*pair, f"{pair[1]}_{view[:3]}_{number}.png") for number in range(count)]
                for view in boxes
            }
            for view, pictures in names.items():
                for picture in pictures:
                    write_picture(trainset / view / picture.name, noise(rng))
                    boxes[view][picture.name] = [[8, 6, 40, 30, 0.9]]
            for picture in names["egocentric"]:
                write_picture(labels.mask("initial", picture), bar().astype(np.uint8) * 255)
            rows, columns = (tuple(Box(picture.file, 0) for picture in names[view]) for view in boxes)
            labels.write_similarity(*pair, SimilarityTable(rng.random((count, count), np.float32), rows, columns))
            for number in range(2):
                picture = Picture(*pair, f"{pair[1]}_test_{number}.png")
                write_picture(testset / "egocentric" / picture.name, noise(rng))
                write_picture(testset / "GT" / picture.name, bar().astype(np.uint8) * 200)
        for view, found in boxes.items():
            labels.write_boxes(view, found)
    write_text_features(root / "text.safetensors", text_features())
    (root / "synth.json").write_text("{}")
    return root


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Faster than vidaff's writer, which waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def bar() -> np.ndarray:
    """(H, W) bool; a bar on the left half."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 8:20] = True
    return mask


def text_features() -> TextFeatures:
    vectors = iter(np.random.default_rng(1).random((64, 8), np.float32))
    return TextFeatures(
        {verb: next(vectors) for verb, _ in PAIRS},
        {noun: next(vectors) for _, noun in PAIRS},
        {pair: next(vectors) for pair in PAIRS},
    )
