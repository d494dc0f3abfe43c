"""Miniature trees of UMD, IIT-AFF (both forms) and UTKinect, byte for byte as the loaders of the field expect them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from scipy.io import savemat

from vidaff.io import write_image

SIZE = (48, 64)
UMD_TOOLS = {"bowl_01": 1, "knife_01": 1, "turner_07": 1, "mug_13": 2, "bowl_02": 2, "ladle_01": 2}
UMD_NOVEL = {**dict.fromkeys(UMD_TOOLS, 1), "ladle_01": 2}
UMD_LABELS = {"bowl": (4, 4), "knife": (1, 2), "turner": (1, 6), "mug": (7, 1), "ladle": (1, 4)}


def umd_labels(category: str) -> np.ndarray:
    """Two parts side by side; the rest is background."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:28, 10:30], labels[20:28, 30:50] = UMD_LABELS[category]
    return labels


def umd_ranks(labels: np.ndarray) -> np.ndarray:
    """The label is first, scoop is second in all parts, and nothing else applies."""
    ranks = np.where(labels[..., None] > 0, 9, 0).astype(np.uint8).repeat(7, axis=2)
    ranks[labels > 0, 2] = 2
    rows, columns = np.nonzero(labels)
    ranks[rows, columns, labels[rows, columns] - 1] = 1
    return ranks


def write_umd_frame(folder: Path, number: int, *, labels: np.ndarray | None = None, kind: str | None = "manual") -> str:
    """All files of a frame; returns what their names begin with. ``kind=None`` leaves ``gt_type`` out."""
    stem = f"{folder.name}_{number:08d}"
    labels = umd_labels(folder.name.partition("_")[0]) if labels is None else labels
    write_image(folder / f"{stem}_rgb.jpg", np.dstack([labels * 30, labels * 0 + number, labels * 0 + 90]))
    depth = np.full(labels.shape, 800 + number, np.uint16)
    depth[22:24, 20:40] = 0  # a hole within the labelled parts
    write_image(folder / f"{stem}_depth.png", depth)
    variables = {"gt_label": labels} if kind is None else {"gt_label": labels, "gt_type": kind}
    savemat(folder / f"{stem}_label.mat", variables, do_compression=True)
    savemat(folder / f"{stem}_label_rank.mat", {"gt_label": umd_ranks(labels)}, do_compression=True)
    return stem


def write_umd(root: Path) -> Path:
    """Four frames of six tools, of which 1 and 4 are labelled by hand; both split files end in odd ways."""
    root = root / "part-affordance-dataset"
    for tool in UMD_TOOLS:
        for number in range(1, 5):
            write_umd_frame(root / "tools" / tool, number, kind="manual" if number % 3 == 1 else "automatic")
    (root / "category_split.txt").write_text("".join(f"{side} {tool}\n" for tool, side in UMD_TOOLS.items()) + "\n")
    (root / "novel_split.txt").write_text("\n".join(f"{side} {tool}" for tool, side in UMD_NOVEL.items()))
    return root


IIT_TRAIN, IIT_VAL, IIT_TEST = ["00_00000090", "00_00000091", "ILSVRC2014_train_1"], ["00_00000091"], ["00_00000095"]


def iit_labels() -> np.ndarray:
    """Two affordances on a background."""
    labels = np.zeros(SIZE, np.uint8)
    labels[8:20, 8:24], labels[30:40, 30:60] = 5, 2
    return labels


def label_text(labels: np.ndarray) -> str:
    return "\n".join(" ".join(map(str, row)) for row in labels.tolist()) + "\n"


def write_iit(root: Path, *, nested: bool = False) -> Path:
    """The native form; ``nested`` as unzipping leaves it."""
    folders = [root / name / (name if nested else ".") for name in ("rgb", "affordances_labels", "object_labels")]
    for folder in folders:
        folder.mkdir(parents=True)
    for name in (*IIT_TRAIN, *IIT_TEST):
        write_image(folders[0] / f"{name}.jpg", np.full((*SIZE, 3), 90, np.uint8))
        (folders[1] / f"{name}.txt").write_text(label_text(iit_labels()))
        (folders[2] / f"{name}.txt").write_text("3 8 8 24 20\n4 30 30 60 40\n0 5 5 5 9\n")
    for which, names in (("train_and_val", IIT_TRAIN), ("val", IIT_VAL), ("test", IIT_TEST)):
        (root / f"{which}.txt").write_text("".join(f"{name}.jpg\n" for name in names) + "\n")
    return root


BOX_XML = "<object><name>{0}</name><bndbox>{1}</bndbox></object>"


def write_voc(root: Path) -> Path:
    """The Pascal-VOC form: an XML and a pickled mask per object."""
    voc = root / "VOCdevkit2012" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40.0</ymax>"
    for which, names in (("train", IIT_TRAIN), ("test", IIT_TEST)):
        (voc / "ImageSets" / "Main" / f"{which}.txt").write_text("\n".join(names))
        masks = root / "cache" / f"GTsegmask_VOC_2012_{which}"
        masks.mkdir(parents=True)
        for name in names:
            write_image(voc / "JPEGImages" / f"{name}.jpg", np.full((*SIZE, 3), 90, np.uint8))
            xml = "".join(BOX_XML.format(title, corners) for title in ("hammer", "knife"))
            (voc / "Annotations" / f"{name}.xml").write_text(f"<annotation>{xml}</annotation>")
            for number, value in ((1, 5), (2, 2)):
                mask = np.where(iit_labels() == value, value, 0).astype(np.uint8)
                (masks / f"{name}_{number}_segmask.sm").write_bytes(pickle.dumps(mask, protocol=2))
    return root


DEPTH_XML = (
    '<?xml version="1.0"?>\n<opencv_storage><depthImg{n} type_id="opencv-image"><width>{w}</width><height>{h}</height>'
    "<origin>top-left</origin><layout>interleaved</layout><dt>w</dt><data>\n  {data}</data></depthImg{n}>"
    "</opencv_storage>\n"
)


def depth_xml(number: int, depth: np.ndarray) -> str:
    lines = "\n  ".join(" ".join(map(str, row)) for row in depth.reshape(-1, 8).tolist())
    return DEPTH_XML.format(n=number, w=depth.shape[1], h=depth.shape[0], data=lines)


UTK_FRAMES = (10, 14, 16, 20, 30, 32, 42)
UTK_LABELS = "{0}\nwalk:  10 20 \nsitDown: 30 32\nclapHands: 40 44\n\n"


def write_utkinect(root: Path, sequences: tuple[str, ...] = ("s01_e01", "s06_e02"), *, packed: bool = False) -> Path:
    """Two sequences of three actions with sparse frame numbers; ``packed`` depth is 8 times millimetres, and some."""
    for sequence in sequences:
        for number in UTK_FRAMES:
            write_image(root / "RGB" / sequence / f"colorImg{number}.jpg", np.full((*SIZE, 3), number, np.uint8))
            depth = np.full((24, 32), 2000 + number, np.int64)
            text = depth_xml(number, depth * 8 + 3 if packed else depth)
            path = root / "depth" / sequence / f"depthImg{number}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "joints").mkdir(exist_ok=True)
        rows = [[number, *[number / 100] * 60] for number in (10, *UTK_FRAMES[:-1])]
        lines = ["   ".join(map(str, row)) for row in rows]
        (root / "joints" / f"joints_{sequence}.txt").write_text("\n".join(lines) + "\n")
    (root / "actionLabel.txt").write_text("".join(UTK_LABELS.format(sequence) for sequence in sequences))
    return root
