"""Folders of maps: every kind of file, matching by name, what is wrong said in one line, the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, MASK_COLOURS
from vidaff.errors import VidaffError
from vidaff.io import write_image
from vidaff.metrics import ranked_f_measure, weighted_f_measure
from vidaff.metrics.folders import MapScores, score_maps
from vidaff.metrics.maps import KINDS, list_maps, match_maps, read_heatmap, read_label_map
from vidaff.metrics.tables import csv_table, markdown, write_tables

LABEL_SETS = [name for name, kind in KINDS.items() if kind.classes]


def labels(dataset: str, seed: int = 0, size: tuple[int, int] = (18, 23)) -> np.ndarray:
    """Blocks of random classes, the background among them."""
    blocks = np.random.default_rng(seed).integers(0, len(KINDS[dataset].classes) + 1, (3, 4))
    return cv2.resize(blocks.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)


def write_map(path: Path, values: np.ndarray) -> None:
    """By its suffix: png, npy, npz (one-hot probabilities of eight or ten classes), txt, mat."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_image(path, values)
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        channels = 8 if path.name.startswith("umd") else 10
        probs = (values == np.arange(channels)[:, None, None]) * 0.5 + 0.05
        np.savez(path, probs=probs.astype(np.float16), action_probs=np.ones(9))
    elif path.suffix == ".txt":
        path.write_text("\n".join(" ".join(map(str, row)) for row in values) + "\n")
    else:
        savemat(path, {"gt_label": values.astype(np.float64)})


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("pred", "gt"):
        (tmp_path / name).mkdir()
    return tmp_path / "pred", tmp_path / "gt"


@pytest.mark.parametrize("dataset", LABEL_SETS)
def test_every_kind_of_file_holds_the_same_map(dataset: str, tmp_path: Path) -> None:
    expected = labels(dataset)
    for suffix in KINDS[dataset].suffixes:
        path = tmp_path / f"{dataset}{suffix}"
        write_map(path, expected)
        np.testing.assert_array_equal(read_label_map(path, KINDS[dataset]).labels, expected, err_msg=suffix)


def test_palette_and_three_equal_channels_are_ids(tmp_path: Path) -> None:
    expected = labels("iit-aff")
    picture = Image.fromarray(expected)
    picture.putpalette([value for _ in range(256) for value in (200, 34, 7)])
    picture.save(tmp_path / "palette.png")
    write_image(tmp_path / "grey.png", np.repeat(expected[..., None], 3, axis=2))
    for name in ("palette.png", "grey.png"):
        np.testing.assert_array_equal(read_label_map(tmp_path / name, KINDS["iit-aff"]).labels, expected)


def test_colours_are_decoded_for_sor3d_aff_only(tmp_path: Path) -> None:
    expected = labels("sor3d-aff")
    colours = np.array([*(MASK_COLOURS[name] for name in AFFORDANCES), (255, 255, 255)], np.uint8)
    write_image(tmp_path / "mask.png", colours[expected])
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png", KINDS["sor3d-aff"]).labels, expected)
    with pytest.raises(VidaffError, match="colour picture"):
        read_label_map(tmp_path / "mask.png", KINDS["umd"])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from(["\n", "\r\n", " \n"]))
def test_text_maps_round_trip(height: int, width: int, seed: int, end: str) -> None:
    import tempfile

    expected = np.random.default_rng(seed).integers(0, 300, (height, width))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.txt"
        path.write_bytes("".join(" ".join(map(str, row)) + end for row in expected).encode())
        np.testing.assert_array_equal(read_label_map(path, KINDS["iit-aff"]).labels, expected)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=60), st.sampled_from([".png", ".npy", ".npz", ".txt", ".mat", ".jpg"]))
def test_broken_files_are_named(content: bytes, suffix: str) -> None:
    import tempfile

    kind = KINDS["umd"] if suffix == ".mat" else KINDS["iit-aff"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"broken{suffix}"
        path.write_bytes(content)
        try:
            read_heatmap(path) if suffix == ".jpg" else read_label_map(path, kind)
        except VidaffError as error:
            assert "broken" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npy", lambda path: np.save(path, np.zeros((2, 2))), "class ids must be integers"),
        ("a.npy", lambda path: np.save(path, np.array([{}])), "not readable as npy"),
        ("a.npz", lambda path: np.savez(path, a=np.ones(2), b=np.ones(2)), "called probs is expected"),
        ("a.npz", lambda path: np.savez(path, probs=np.ones((3, 4, 4))), "one channel per class id"),
        ("a.npz", lambda path: np.savez(path, probs=np.full((10, 4, 4), 2.0)), "must lie in 0..1"),
        ("a.txt", lambda path: path.write_text("0 1\n2\n"), "line 2 holds 1 numbers"),
        ("a.txt", lambda path: path.write_text("0 1\nx 2\n"), "numbers between blanks"),
        ("a.txt", lambda path: path.write_text("0.5 1\n"), "class ids must be integers"),
        ("a.txt", lambda path: path.write_text(""), "holds no numbers"),
    ],
)
def test_wrong_content_is_named(name: str, write: object, said: str, tmp_path: Path) -> None:
    write(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(VidaffError, match=said):
        read_label_map(tmp_path / name, KINDS["iit-aff"])


def test_probabilities_may_come_channels_last(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((5, 6, 10)).astype(np.float32)
    np.savez(tmp_path / "a.npz", probs)
    read = read_label_map(tmp_path / "a.npz", KINDS["iit-aff"])
    assert read.probs is not None and read.probs.shape == (10, 5, 6)
    np.testing.assert_array_equal(read.labels, probs.argmax(axis=2))


def test_maps_match_by_path_without_suffix(folders: tuple[Path, Path]) -> None:
    pred, gt = folders
    for place in ("b/2.png", "a/1.npy"):
        write_map(pred / place, labels("iit-aff"))
    for place in ("a/1.txt", "b/2.png"):
        write_map(gt / place, labels("iit-aff"))
    write_map(gt / ".cache" / "1.png", labels("iit-aff"))
    (gt / "notes.md").write_text("no map")
    pairs, unmatched = match_maps(pred, gt, KINDS["iit-aff"])
    assert [pair.name for pair in pairs] == ["a/1", "b/2"] and unmatched == 0
    assert pairs[0].pred == pred / "a/1.npy" and pairs[0].gt == gt / "a/1.txt"


def test_umd_s_own_tree_is_read_by_its_labels(folders: tuple[Path, Path]) -> None:
    pred, gt = folders
    write_map(pred / "cup_01" / "cup_01_00000001.png", labels("umd"))
    for suffix in ("_label.mat", "_label_rank.mat", "_depth.png"):
        write_map(gt / "cup_01" / f"cup_01_00000001{suffix}", labels("umd"))
    assert list(list_maps(gt, KINDS["umd"])) == ["cup_01/cup_01_00000001"]
    assert match_maps(pred, gt, KINDS["umd"])[0][0].gt.name == "cup_01_00000001_label.mat"


def test_missing_and_extra_maps_are_named(folders: tuple[Path, Path]) -> None:
    pred, gt = folders
    for name in ("1", "2"):
        write_map(pred / f"{name}.png", labels("umd"))
    for name in ("2", "3", "4"):
        write_map(gt / f"{name}.png", labels("umd"))
    with pytest.raises(VidaffError, match=r"lacks 2 of the 3 maps of .*\(3, 4\); .*holds 1 that .*\(1\)"):
        score_maps(pred, gt, "umd")
    with pytest.raises(VidaffError, match="holds 1 that"):
        score_maps(pred, gt, "umd", partial=True)
    (pred / "1.png").unlink()
    scores = score_maps(pred, gt, "umd", partial=True)
    assert (scores.maps, scores.unmatched) == (1, 2)
    assert "left out: 2." in markdown(scores)


def test_partial_still_needs_something_in_common(folders: tuple[Path, Path]) -> None:
    for folder, name in zip(folders, ("1.png", "2.png"), strict=True):
        write_map(folder / name, labels("umd"))
    with pytest.raises(VidaffError, match="lacks 1 of the 1"):
        score_maps(*folders, "umd", partial=True)


def test_two_files_of_one_map_are_refused(folders: tuple[Path, Path]) -> None:
    for suffix in (".png", ".npy"):
        write_map(folders[0] / f"1{suffix}", labels("umd"))
    with pytest.raises(VidaffError, match=r"1\.png: the same map as 1\.npy"):
        score_maps(*folders, "umd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pred, gt: write_map(pred / "1.png", np.zeros((4, 6), np.uint8)), "6x4 pixels, the truth 23x18"),
        (lambda pred, gt: write_map(pred / "1.png", labels("umd") + 8), "1: pred: class ids must be 0..7"),
        (lambda pred, gt: write_map(gt / "1.png", labels("umd") + 8), "1: target: class ids must be 0..7"),
        (lambda pred, gt: (pred / "1.png").unlink(), "pred: holds no maps"),
    ],
)
def test_what_cannot_be_scored_is_named(change: object, said: str, folders: tuple[Path, Path]) -> None:
    for folder in folders:
        write_map(folder / "1.png", labels("umd"))
    change(*folders)  # type: ignore[operator]
    with pytest.raises(VidaffError, match=said):
        score_maps(*folders, "umd")


def test_a_missing_folder_and_an_unknown_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="no such folder"):
        score_maps(tmp_path / "none", tmp_path, "umd")
    with pytest.raises(VidaffError, match="unknown data set 'imagenet'; known: umd"):
        score_maps(tmp_path, tmp_path, "imagenet")


def scored(folders: tuple[Path, Path], dataset: str, **options: bool) -> tuple[MapScores, np.ndarray, np.ndarray]:
    """Scores of three maps that are partly right, with predictions and truths (3, H, W)."""
    truths = np.stack([labels(dataset, seed) for seed in range(3)])
    preds = np.stack(
        [np.where(labels(dataset, seed) > 4, truths[seed], labels(dataset, seed + 9)) for seed in range(3)]
    )
    for name, pred, truth in zip("abc", preds, truths, strict=True):
        write_map(folders[0] / f"{dataset}_{name}.npz", pred)
        write_map(folders[1] / f"{dataset}_{name}.png", truth)
    return score_maps(*folders, dataset, **options), preds, truths


@pytest.mark.parametrize("dataset", LABEL_SETS)
def test_label_scores_are_those_of_the_definitions(dataset: str, folders: tuple[Path, Path]) -> None:
    scores, preds, truths = scored(folders, dataset)
    kind = KINDS[dataset]
    for position, name in enumerate(kind.classes):
        index = position if kind.background == BACKGROUND else position + 1
        found, there = preds == index, truths == index
        ious = (found & there).sum() / (found | there).sum() if there.any() else np.nan
        assert scores.per_class["iou"][name] == pytest.approx(ious, nan_ok=True)
        for key, beta2 in (("margolin", 1.0), ("margolin_03", 0.3)):
            each = [weighted_f_measure(f, t, beta2=beta2) for f, t in zip(found, there, strict=True) if t.any()]
            assert scores.per_class[key][name] == pytest.approx(np.mean(each) if each else np.nan, nan_ok=True)
        assert scores.counts[name] == len(each)
    assert scores.overall["iou"] == pytest.approx(np.nanmean(list(scores.per_class["iou"].values())))
    assert ("f_w" in scores.overall) == (dataset == "sor3d-aff")


def test_soft_takes_the_probabilities(folders: tuple[Path, Path]) -> None:
    hard, preds, truths = scored(folders, "iit-aff")
    soft = score_maps(*folders, "iit-aff", soft=True)
    assert soft.per_class["iou"] == pytest.approx(hard.per_class["iou"], nan_ok=True)
    probs = ((preds == 5) * 0.5 + 0.05).astype(np.float16)
    each = [weighted_f_measure(p, t == 5) for p, t in zip(probs, truths, strict=True) if (t == 5).any()]
    assert soft.per_class["margolin"]["grasp"] == pytest.approx(np.mean(each))
    assert "probabilities" in markdown(soft)
    for path in folders[0].iterdir():
        path.rename(folders[1].parent / path.name)
        write_map(folders[0] / f"{path.stem}.png", labels("iit-aff"))
    with pytest.raises(VidaffError, match="no probabilities"):
        score_maps(*folders, "iit-aff", soft=True)


def test_ignored_pixels_count_nowhere(folders: tuple[Path, Path]) -> None:
    truth = labels("iit-aff")
    pred = truth.copy()
    pred[:6], ignored = 3, truth.copy()
    ignored[:6] = 77
    write_map(folders[0] / "1.png", pred)
    write_map(folders[1] / "1.png", ignored)
    scores = score_maps(*folders, "iit-aff", ignore=77)
    for key in ("iou", "margolin"):
        assert scores.overall[key] == pytest.approx(1)
    with pytest.raises(VidaffError, match=r"class ids must be 0..9, got 0..77 \(ignored: 255\)"):
        score_maps(*folders, "iit-aff")


def test_ids_that_mean_nothing_in_iit_aff_s_text_are_not_judged(folders: tuple[Path, Path]) -> None:
    truth = labels("iit-aff").astype(int)
    truth[0], truth[1] = 12, -1
    write_map(folders[0] / "1.png", labels("iit-aff"))
    write_map(folders[1] / "1.txt", truth)
    assert score_maps(*folders, "iit-aff").overall["margolin"] == pytest.approx(1)
    write_map(folders[0] / "1.txt", truth)
    (folders[0] / "1.png").unlink()
    write_map(folders[1] / "1.txt", labels("iit-aff"))
    with pytest.raises(VidaffError, match=r"pred: class ids must be 0\.\.9, got -1\.\.12"):
        score_maps(*folders, "iit-aff")


def test_ranks_beside_umd_s_labels_are_scored(folders: tuple[Path, Path]) -> None:
    pred, gt = folders
    truth = labels("umd")
    ranks = np.where(truth[..., None] > 0, 9, 0) * np.ones(7, int)
    ranks[truth > 0, truth[truth > 0] - 1] = 1
    write_map(pred / "cup_1.png", labels("umd", 5))
    write_map(gt / "cup_1_label.mat", truth)
    assert "ranked" not in score_maps(pred, gt, "umd").overall
    write_map(gt / "cup_1_label_rank.mat", ranks)
    scores = score_maps(pred, gt, "umd")
    assert scores.per_class["ranked"]["cut"] == pytest.approx(ranked_f_measure(labels("umd", 5) == 2, ranks[..., 1]))
    assert "R^w" in markdown(scores)
    write_map(gt / "cup_1_label_rank.mat", ranks[..., :6])
    with pytest.raises(VidaffError, match=r"rank\.mat: 7 ranks 0\.\.9 a pixel are expected"):
        score_maps(pred, gt, "umd")
    write_map(pred / "cup_2.png", truth)
    write_map(gt / "cup_2_label.mat", truth)
    with pytest.raises(VidaffError, match=r"cup_2_label_rank\.mat: no such file"):
        score_maps(pred, gt, "umd")


def write_heatmaps(folders: tuple[Path, Path]) -> None:
    rows, columns = np.mgrid[:40, :60]
    for number, name in enumerate(("cut/knife/1", "cut/knife/2", "hold/cup/1")):
        for folder, shift in zip(folders, (0, 4), strict=True):
            spot = np.exp(-((rows - 20) ** 2 + (columns - 20 - shift * number) ** 2) / 50)
            write_map(folder / f"{name}.png", (255 * spot).astype(np.uint8))


def test_heat_maps_are_scored_per_affordance_and_averaged_over_maps(folders: tuple[Path, Path]) -> None:
    write_heatmaps(folders)
    np.save(folders[0] / "hold/cup/1.npy", np.ones((24, 24)))  # any size: both are resized
    (folders[0] / "hold/cup/1.png").unlink()
    scores = score_maps(*folders, "agd20k")
    assert scores.counts == {"cut": 2, "hold": 1}
    for key, values in scores.per_class.items():
        assert scores.overall[key] == pytest.approx((2 * values["cut"] + values["hold"]) / 3), key
    assert scores.per_class["sim"]["cut"] > 0.8 and scores.per_class["nss"]["hold"] == 0
    assert "KLD, LOCATE" in markdown(scores)


@pytest.mark.parametrize("option", [{"legacy": True}, {"soft": True}, {"ignore": 0}])
def test_heat_maps_refuse_options_for_labels(option: dict[str, int], folders: tuple[Path, Path]) -> None:
    with pytest.raises(VidaffError, match="are for labels"):
        score_maps(*folders, "agd20k", **option)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [-np.ones((3, 3)), np.full((3, 3), np.nan), np.ones(3)])
def test_bad_heat_maps_are_named(values: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(VidaffError, match=r"a\.npy: a heat map must"):
        read_heatmap(tmp_path / "a.npy")


def test_tables_agree_with_the_scores(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores, _, _ = scored(folders, "umd", legacy=True)
    write_tables(scores, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    rows = {(r["class"], r["metric"]): r["value"] for r in csv.DictReader((tmp_path / "out" / "metrics.csv").open())}
    text = (tmp_path / "out" / "metrics.md").read_text()
    assert text == markdown(scores) and csv_table(scores) == (tmp_path / "out" / "metrics.csv").read_text()
    assert "legacy" in text and "Legacy:" in text
    for key, value in scores.overall.items():
        assert content["overall"][key] == pytest.approx(value)
        assert float(rows["mean", key]) == pytest.approx(value, abs=1e-6)
        assert f"{value:.4f}" in text.split("**mean**")[1]
    assert content["counts"] == scores.counts


@pytest.mark.real
def test_real_umd_crops_are_a_perfect_prediction_of_themselves(shared_dir: Path) -> None:
    tools = shared_dir / "data" / "umd_crops" / "part-affordance-dataset" / "tools"
    if not tools.is_dir():
        pytest.skip("the real crops are not beside this checkout")
    scores = score_maps(tools, tools, "umd")
    assert scores.maps == 47
    assert scores.overall["iou"] == scores.overall["margolin"] == pytest.approx(1)
    assert 0 < scores.overall["ranked"] < 0.501


@pytest.mark.real
def test_real_iit_aff_pairs_through_the_folders(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "iit_aff"
    if not (folder / "gt_seg").is_dir():
        pytest.skip("the real label pairs are not beside this checkout")
    scores = score_maps(folder / "pred_seg", folder / "gt_seg", "iit-aff", legacy=True)
    assert scores.overall["margolin"] == pytest.approx(0.8438, abs=5e-5)
    assert scores.overall["margolin_legacy"] == pytest.approx(0.8230, abs=5e-5)
    assert scores.per_class["margolin_legacy"]["support"] == pytest.approx(0.8809, abs=5e-5)
    labels_of_text = read_label_map(folder / "affordances_labels" / "0.txt", KINDS["iit-aff"]).labels
    assert labels_of_text.shape == (1024, 1024) and labels_of_text.max() == 7
