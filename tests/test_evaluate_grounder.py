"""Evaluation of heat maps: every table is the mean of the items in it, and what cannot be scored is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.models.image_models import save_tokenizer, tiny_clip
from tests.toy_agd20k import PARTS, write_toy_tree
from vidaff.cli import cli
from vidaff.errors import VidaffError
from vidaff.evaluate_grounder import TextModel, centre_map, evaluate_grounder, even_map, mean_intervals
from vidaff.io import write_image
from vidaff.metrics import heatmap_scores, kld, nss, sim
from vidaff.models.baselines.cam import CamModel, CamRecipe, build_cam, save_cam
from vidaff.models.image import GrounderSettings, build_grounder, save_grounder
from vidaff.models.image.text_table import SpellingEncoder, TextSettings, TextTable

SETTINGS = GrounderSettings.model_validate(
    {
        "dim": 32, "clip": {"width": 32, "layers": 1, "heads": 4, "patch": 16, "grid": 4},
        "fuser": {"depth": 1, "heads": 4, "grid": 4}, "decoder": {"mlp_dim": 32}, "exo_hidden": 16,
    }
)  # fmt: skip
KEYS = ("kld_plsp", "sim_plsp", "nss_plsp", "kld_locate", "sim_locate", "nss_locate")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_toy_tree(tmp_path_factory.mktemp("agd20k") / "root", train=1, test=3)
    # AGD20K has one ground truth that is zero everywhere.
    write_image(root / "Seen" / "testset" / "GT" / "hold" / "fork" / "fork_9300.png", np.zeros((96, 96), np.uint8))
    return root


def save_untrained(folder, names=("cut_with", "hold", "stick")):
    torch.manual_seed(3)
    encoder = SpellingEncoder(32)
    features = dict(zip(names, encoder(list(names)), strict=True))
    info = {"input": {"size": [64, 64]}, "select": "heldout"}
    save_grounder(folder, build_grounder(SETTINGS), SETTINGS, info)
    TextTable(features, features, features).save(folder, TextSettings(kind="spelling"))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("model"))


def score(checkpoint, data, **options):
    return evaluate_grounder(checkpoint, data, device="cpu", progress=False, **options)


@pytest.fixture(scope="module")
def scored(checkpoint, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("eval") / "out"
    return score(checkpoint, data, out=out), out


def test_every_table_is_the_mean_of_its_items(scored):
    result, _ = scored
    assert len(result.items) == 3 * len(PARTS)
    assert set(result.affordances) == {"cut_with", "hold", "stick"} and set(result.objects) == {"knife", "fork"}
    for key in KEYS:
        assert result.overall[key] == pytest.approx(np.mean([item[key] for item in result.items]))
        low, high = result.intervals[key]
        assert low <= result.overall[key] <= high
    held = [item for item in result.items if item["affordance"] == "hold"]
    assert result.affordances["hold"]["items"] == len(held) == 6
    assert result.affordances["hold"]["kld_plsp"] == pytest.approx(np.mean([item["kld_plsp"] for item in held]))
    forks = [item["nss_locate"] for item in result.items if item["object"] == "fork"]
    assert result.objects["fork"]["nss_locate"] == pytest.approx(np.mean(forks))
    assert np.isfinite([item[key] for item in result.items for key in KEYS]).all()


def test_worst_and_best_are_by_kld(scored):
    result, _ = scored
    ranked = sorted(result.items, key=lambda item: item["kld_plsp"])
    names = [item["name"] for item in result.items]
    assert names[result.best[0].index] == ranked[0]["name"]
    assert names[result.worst[0].index] == ranked[-1]["name"]


def test_an_empty_truth_counts_as_even(scored):
    result, _ = scored
    item = next(item for item in result.items if item["name"] == "hold/fork/fork_9300.png")
    assert item["nss_plsp"] == 0
    assert item["kld_plsp"] < 1


def test_files_and_the_papers_rows(scored):
    result, out = scored
    assert {path.name for path in out.iterdir()} == {
        "results.md", "results.json", "results.csv", "best.png", "worst.png",
    }  # fmt: skip
    stored = json.loads((out / "results.json").read_text())
    assert stored["overall"] == result.overall
    assert stored["items"] == result.items
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == 6 * (1 + 3 + 2)
    report = (out / "results.md").read_text()
    assert "| paper: WSAG-PLSP | 0.890 | 0.510 | 1.547 | - | - | - |" in report
    assert "| centre map |" in report and "## Per object" in report
    assert "chosen by `heldout`" in report


def test_size_of_batches_changes_nothing(checkpoint, data, scored):
    again = score(checkpoint, data, batch_size=5)
    assert again.overall == pytest.approx(scored[0].overall, rel=1e-5)


def test_protocols_and_limit_can_be_chosen(checkpoint, data):
    result = score(checkpoint, data, protocols=("locate",), limit=2)
    assert set(result.overall) == {"kld_locate", "sim_locate", "nss_locate"}
    assert len(result.items) == 2


def test_earlier_results_stand_beside(checkpoint, data, scored, tmp_path):
    _, out = scored
    result = score(checkpoint, data, beside=[out], out=tmp_path / "new")
    assert f"| ours, grounder ({checkpoint}) |" in (tmp_path / "new" / "results.md").read_text()
    assert len(result.beside) == 1
    with pytest.raises(VidaffError, match="of the split 'seen'; cannot stand beside 'hard'"):
        score(checkpoint, data, split="hard", beside=[out])
    broken = tmp_path / "broken"
    broken.mkdir()
    for content, said in (
        ({"dataset": "agd20k", "split": "seen", "overall": {"kld_plsp": "x"}, "intervals": {}}, "holds no kld_plsp"),
        ({"dataset": "umd"}, "not the results"),
    ):
        (broken / "results.json").write_text(json.dumps(content))
        with pytest.raises(VidaffError, match=said):
            score(checkpoint, data, beside=[broken])


def test_affordances_that_were_not_trained_are_encoded(data, tmp_path):
    folder = save_untrained(tmp_path / "model", names=("hold",))
    assert len(score(folder, data).items) == 12


def test_a_converted_checkpoint_needs_a_text_tower(data, tmp_path):
    folder = save_grounder(tmp_path / "model", build_grounder(SETTINGS), SETTINGS, {})
    with pytest.raises(VidaffError, match="no text features of its own"):
        score(folder, data)
    tiny_clip().save_pretrained(tmp_path / "clip")
    save_tokenizer(tmp_path / "clip")
    words = ["eval", "--dataset", "agd20k", "--data", str(data), "--checkpoint", str(folder), "--device", "cpu"]
    words += ["--text-model", str(tmp_path / "clip"), "--limit", "2", "--protocol", "plsp"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 pictures of agd20k, split `seen`" in done.output
    assert "locate |" not in done.output


def test_other_models_are_refused(data, tmp_path):
    settings = SETTINGS.model_copy(update={"task": "refinement"})
    folder = save_grounder(tmp_path / "model", build_grounder(settings), settings, {})
    with pytest.raises(VidaffError, match="refinement network"):
        score(folder, data)
    with pytest.raises(VidaffError, match="another kind"):
        score("small", data)
    recipe = CamRecipe(model=CamModel(dim=32, clip=SETTINGS.clip))
    model, sizes = build_cam(recipe.model, 1)
    save_cam(tmp_path / "cam", model, sizes, recipe, {"affordances": ["hold"]})
    with pytest.raises(VidaffError, match="has no class cut_with"):
        score(tmp_path / "cam", data)
    with pytest.raises(VidaffError, match="takes no words"):
        score(tmp_path / "cam", data, text=TextModel("clip"))
    huge = recipe.model_copy(update={"model": CamModel(dim=4096, clip={"width": 4096, "layers": 64, "heads": 64})})
    save_cam(tmp_path / "lies", model, huge.model, huge, {"affordances": ["hold"]})
    with pytest.raises(VidaffError, match="another architecture than its settings say"):
        score(tmp_path / "lies", data)


def test_a_tower_is_no_help_to_a_network_that_knows_spelling(checkpoint, data):
    with pytest.raises(VidaffError, match="spelling"):
        score(checkpoint, data, text=TextModel("clip"))


@pytest.mark.parametrize("size", [[64, 32], [60, 60], "big"])
def test_input_settings_that_do_not_fit_are_one_line(data, tmp_path, size):
    save_grounder(tmp_path, build_grounder(SETTINGS), SETTINGS, {"input": {"size": size}})
    features = {"hold": SpellingEncoder(32)(["hold"])[0]}
    TextTable(features, features, features).save(tmp_path, TextSettings(kind="spelling"))
    with pytest.raises(VidaffError, match="input"):
        score(tmp_path, data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocols": ("mine",)}, "unknown protocol mine"),
        ({"protocols": ()}, "unknown protocol"),
        ({"split": "val"}, "val"),
        ({"limit": 0}, "at least 1"),
        ({"split": "unseen"}, "Unseen"),
    ],
)
def test_wrong_options_are_named(checkpoint, data, options, said):
    with pytest.raises(VidaffError, match=said):
        score(checkpoint, data, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "agd20k", "--zero-flow"], "are for clips"),
        (["--dataset", "agd20k", "--tokenizer", "x"], "goes with --text-model"),
        (["--protocol", "plsp"], "--protocol: for --dataset agd20k only"),
    ],
)
def test_options_of_other_data_are_named(data, arguments, said):
    done = CliRunner().invoke(cli, ["eval", "--checkpoint", "small", "--data", str(data), *arguments])
    assert isinstance(done.exception, VidaffError)
    assert said in str(done.exception)


def test_metrics_of_batches_are_those_of_single_maps():
    rng = np.random.default_rng(0)
    pred, gt = rng.random((2, 3, 8, 8))
    pred[1], gt[2] = 0, 0
    for protocol in ("plsp", "locate"):
        single = [heatmap_scores(*pair, protocol=protocol) for pair in zip(pred, gt, strict=True)]
        for name, many in (("kld", kld), ("sim", sim), ("nss", nss)):
            expected = [getattr(scores, name) for scores in single]
            np.testing.assert_allclose(many(pred, gt, protocol=protocol), expected)
            np.testing.assert_allclose(
                many(torch.tensor(pred).flatten(1), gt.reshape(3, -1), protocol=protocol), expected
            )
    with pytest.raises(ValueError, match="pred"):
        kld(pred, gt[:2])
    with pytest.raises(ValueError, match="protocol"):
        kld(pred, gt, protocol="mine")


def test_reference_maps():
    assert even_map(10).sum() == pytest.approx(1)
    centre = centre_map(10)
    assert centre.sum() == pytest.approx(1)
    np.testing.assert_allclose(centre, centre[::-1, ::-1])
    assert centre.argmax() in (44, 45, 54, 55)


def test_intervals_hold_the_mean_and_narrow_with_the_number_of_items():
    rng = np.random.default_rng(0)
    few, many = rng.random((10, 1)), rng.random((1000, 1))
    (low, high), (lower, higher) = mean_intervals(few), mean_intervals(many)
    assert low < few.mean() < high and lower < many.mean() < higher
    assert (higher - lower) < 0.3 * (high - low)
    assert np.array_equal(mean_intervals(few)[0], low)
