"""The grounding network and the CAM baseline on a toy tree: they learn, resume, and their switches do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.models.image_models import tiny_clip
from tests.toy_agd20k import PARTS, write_toy_tree
from vidaff.cli import cli
from vidaff.config import load_recipe, recipe_names
from vidaff.datasets.agd20k import read_classes
from vidaff.errors import VidaffError
from vidaff.evaluate_grounder import evaluate_grounder
from vidaff.models.baselines.cam import load_cam, load_cam_recipe
from vidaff.models.image import load_grounder
from vidaff.models.image.recipe import load_grounder_recipe
from vidaff.models.image.text_table import SpellingEncoder, TextSettings, TextTable, make_text_encoder
from vidaff.part_texts import part_words, read_part_texts
from vidaff.training.cam import train_cam
from vidaff.training.grounder import open_pictures, train_grounder
from vidaff.training.grounding_data import split_pictures
from vidaff.training.grounding_text import text_table
from vidaff.training.history import read_history
from vidaff.weights import load_torch_file

SMALL = [
    "model.dim=32",
    "model.clip.width=32",
    "model.clip.layers=2",
    "model.clip.patch=16",
    "model.clip.grid=4",
    "model.fuser.grid=4",
    "model.exo_hidden=16",
]
SMALL += ["input.size=64", "train.batch_size=12", "train.micro_batch=12", "train.warmup_steps=0", "train.epochs=1"]
ONE_STEP = ["train.batch_size=36", "train.clip_grad=0", "model.fuser.drop_path=0", "train.schedule=constant"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_tree(tmp_path_factory.mktemp("agd20k") / "root")


def recipe_of(*overrides):
    return load_grounder_recipe("grounder-small", [*SMALL, *overrides])


def run(data, out, *overrides, **options):
    return train_grounder(recipe_of(*overrides), data, out, device="cpu", progress=False, **options)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run long enough to learn which colour affords what."""
    out = tmp_path_factory.mktemp("run") / "out"
    run(data, out, "train.epochs=30", "train.stitch=0", "train.lr=0.002", "train.val_every=10")
    return out


def test_it_learns_more_than_the_centre_of_the_picture(trained, data):
    result = evaluate_grounder(trained / "best", data, device="cpu", progress=False)
    assert result.overall["kld_plsp"] < result.references["centre map"]["kld_plsp"] - 0.1
    assert result.overall["kld_plsp"] < result.references["even map"]["kld_plsp"] - 0.5
    assert result.overall["nss_plsp"] > 1.5
    history = read_history(trained)
    for name in ("heatmap", "exo", "noun", "part"):
        assert float(history[-1][f"train/{name}"]) < 0.7 * float(history[0][f"train/{name}"]), name
    assert {"val/kld", "val/sim", "val/nss"} <= set(history[-1])


def test_the_checkpoint_says_what_made_it_and_brings_its_text(trained, data):
    checkpoint = load_grounder(trained / "best")
    info = checkpoint.info
    assert (info["format"], info["split"], info["select"]) == ("grounder-recipe", "seen", "heldout")
    assert info["affordances"] == list(read_classes(data).affordances)
    assert sorted(map(tuple, info["trained"]["pairs"])) == sorted(PARTS)
    assert info["text"] == {"kind": "spelling", "source": None, "tokenizer": None, "template": "{}", "join": " and ",
                            "parts": None, "dim": 32}  # fmt: skip
    assert info["train_pictures"] == 40 - 4 * 1
    assert recipe_of("train.epochs=30", "train.stitch=0", "train.lr=0.002", "train.val_every=10") == type(
        recipe_of()
    ).model_validate(info["recipe"])
    table, settings = TextTable.load(trained / "best")
    torch.testing.assert_close(table.verbs["hold"], SpellingEncoder(32)(["hold"])[0])
    torch.testing.assert_close(table.parts["cut_with knife"], SpellingEncoder(32)(["knife blade"])[0])
    assert settings == TextSettings(kind="spelling")
    assert (trained / "text.safetensors").read_bytes() == (trained / "best" / "text.safetensors").read_bytes()


def test_cut_and_resumed_it_ends_with_the_same_bytes(data, tmp_path):
    run(data, tmp_path / "whole", "train.epochs=3")
    run(data, tmp_path / "cut", "train.epochs=3", "train.max_minutes=1e-6")
    assert len(read_history(tmp_path / "cut")) == 1
    run(data, tmp_path / "cut", "train.epochs=3", resume=True)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(VidaffError, match="already holds files"):
        run(data, tmp_path / "cut")
    with pytest.raises(VidaffError, match=r"other settings \(train.stitch, split\)"):
        run(data, tmp_path / "cut", "train.stitch=0.1", resume=True, split="hard")
    with pytest.raises(VidaffError, match="another model"):
        cam(data, tmp_path / "cut", resume=True)


def first_gradients(out: Path) -> dict[int, torch.Tensor]:
    """Gradients of the only step of a run: the first moment of AdamW after one step is a share of them."""
    content = load_torch_file(out / "checkpoints" / "last.ckpt")
    assert content["global_step"] == 1
    return {key: state["exp_avg"] for key, state in content["optimizer_states"][0]["state"].items()}


def assert_same_gradients(first: Path, second: Path) -> None:
    one, other = first_gradients(first), first_gradients(second)
    assert one.keys() == other.keys()
    largest = max(float(value.abs().max()) for value in one.values())
    for key in one:
        torch.testing.assert_close(other[key], one[key], atol=1e-5 * largest, rtol=1e-4)


def test_accumulation_is_the_whole_batch(data, tmp_path):
    run(data, tmp_path / "whole", *ONE_STEP, "train.micro_batch=36")
    run(data, tmp_path / "parts", *ONE_STEP, "train.micro_batch=6")
    assert_same_gradients(tmp_path / "whole", tmp_path / "parts")


def test_two_processes_share_the_global_batch(data, tmp_path):
    overrides = [*SMALL, *ONE_STEP, "train.micro_batch=9"]
    arguments = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29613", "-m", "vidaff"]
    arguments += ["train", "--dataset", "agd20k", "--data", str(data), "--recipe", "grounder-small", "--device", "cpu"]
    arguments += ["--quiet", "--out", str(tmp_path / "two")]
    arguments += [word for override in overrides for word in ("--set", override)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, env=environment, timeout=300)
    run(data, tmp_path / "one", *ONE_STEP, "train.micro_batch=36")
    assert_same_gradients(tmp_path / "one", tmp_path / "two")


def test_modules_that_are_off_are_not_there(data, tmp_path):
    run(data, tmp_path / "run", "train.reasoning=none", "train.alignment=none", "train.precision=bf16")
    names = {name.partition(".")[0] for name in load_grounder(tmp_path / "run" / "best").model.state_dict()}
    assert names == {"encoder", "verb_fuser", "pred_decoder"}
    row = read_history(tmp_path / "run")[0]
    assert {key for key in row if key.startswith("train/")} == {"train/loss", "train/heatmap"}


def test_reasoning_of_the_part_alone_leaves_the_object_out_of_the_loss(data, tmp_path):
    weights = {"alignment": 0.5, "exo": 2.0, "noun": 3.0, "part": 0.25}
    own = [f"train.{name}_loss={value}" for name, value in weights.items()]
    run(data, tmp_path / "run", "train.reasoning=part", "train.select=last", *own)
    row = {key: float(value) for key, value in read_history(tmp_path / "run")[0].items()}
    parts = row["train/heatmap"] + sum(weights[name] * row[f"train/{name}"] for name in ("alignment", "exo", "part"))
    assert row["train/loss"] == pytest.approx(parts, rel=1e-4)
    assert "val/kld" not in row


def test_switches_change_the_samples(data):
    def sample(*overrides):
        return open_pictures(recipe_of("train.stitch=0", *overrides), data, "seen", None, None)[0]

    refined, initial = sample(), sample("train.labels=initial")
    assert (refined.label_counts, initial.label_counts) == ({"refined": 40}, {"initial": 40})
    assert (initial[0].heatmap > 1e-6).sum() > (refined[0].heatmap > 1e-6).sum()
    assert 0 < refined[0].exo_mask.sum() < 16 == sample("train.alignment=picture")[0].exo_mask.sum()
    assert len(sample("train.alignment=none")[0].exo) == 0
    stitched = sample("train.stitch=1")[0].heatmap[0]
    quadrants = [stitched[y : y + 32, x : x + 32].sum() for y in (0, 32) for x in (0, 32)]
    assert sorted(quadrants)[:3] == [0, 0, 0] and max(quadrants) == pytest.approx(1, rel=1e-4)


def test_held_out_pictures_are_not_stitched_to_those_that_are_trained_on(data):
    def negatives(*overrides):
        recipe = recipe_of("train.stitch=1", "train.holdout=0.5", *overrides)
        train = open_pictures(recipe, data, "seen", None, None)[0]
        fit, _ = split_pictures(train, recipe, None)
        drawn = [train.draw(index, np.random.default_rng((index, turn))).stitch for index in fit for turn in range(9)]
        held = {train.pictures[index] for index in set(range(len(train))) - set(fit)}
        return [picture for stitch in drawn for picture in stitch.negatives], held, train

    for rule in ("irrelevant", "other_verb"):
        stitched, held, train = negatives(f"train.stitch_negatives={rule}")
        assert len(held) == 20
        assert set(stitched) == set(train.pictures) - held
    everything, none_held, train = negatives("train.select=last", "train.stitch_negatives=other_verb")
    assert not none_held and set(everything) == set(train.pictures)


def test_selection_on_the_test_split_is_named(data, tmp_path):
    arguments = ["train", "--dataset", "agd20k", "--data", str(data), "--recipe", "grounder-small", "--device", "cpu"]
    arguments += ["--select", "test-kld", "--out", str(tmp_path / "run"), "--quiet"]
    arguments += [word for override in SMALL for word in ("--set", override)]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "chosen by test-kld: lowest KLD on the TEST split" in done.output
    assert "pictures: 40 to train on; labels: 40 refined" in done.output
    words = ["eval", "--dataset", "agd20k", "--data", str(data), "--checkpoint", str(tmp_path / "run" / "best")]
    done = CliRunner().invoke(cli, [*words, "--device", "cpu"], catch_exceptions=False)
    assert "| KLD, plsp | SIM, plsp | NSS, plsp | KLD, locate |" in done.output
    assert "chosen by `test-kld`: lowest KLD on the TEST split" in done.output


def test_a_training_says_which_pictures_it_has(data, tmp_path):
    said: list[str] = []
    info = load_grounder(run(data, tmp_path / "refined", say=said.append)).info
    assert said == ["pictures: 36 to train on, 4 held out; labels: 40 refined"]
    assert info["counts"] == {"labels": {"refined": 40}, "skipped": 0, "notes": 0}
    other = write_toy_tree(tmp_path / "other", refined=False)
    labels = other / "Seen" / "trainset" / "labels"
    lost = min((labels / "initial" / "hold" / "fork").glob("*.png"))
    lost.unlink()
    (labels / "similarity" / "stick" / "fork.safetensors").unlink()
    said.clear()
    info = load_grounder(run(other, tmp_path / "initial", say=said.append)).info
    assert said[:2] == [
        "pictures: 35 to train on, 4 held out; labels: 39 initial",
        f"left out: 1 of 40 pictures (hold/fork/{lost.name}: no pseudo-label)",
    ]
    assert "10 of 39 pictures get exocentric ones without regard to similarity (stick/fork/fork_2000.png: no" in said[2]
    assert said[3].startswith(f"warning: train.labels=refined, but {other / 'Seen' / 'trainset'} holds none")
    assert info["counts"] == {"labels": {"initial": 39}, "skipped": 1, "notes": 10}
    said.clear()
    run(other, tmp_path / "asked", "train.labels=initial", say=said.append)
    assert len(said) == 3
    said.clear()
    info = load_cam(cam(other, tmp_path / "cam", say=said.append)).info
    assert said == ["pictures: 39 to train on", said[1]] and said[1].startswith("left out: 1")
    assert info["counts"] == {"skipped": 1, "notes": 0}


def test_only_the_best_epoch_is_exported_as_best(trained):
    kept, last = load_grounder(trained / "best").info, load_grounder(trained / "last").info
    rows = {int(row["epoch"]) + 1: float(row["val/kld"]) for row in read_history(trained) if "val/kld" in row}
    assert kept["epoch"] == min(rows, key=lambda epoch: rows[epoch])
    assert kept["val"]["kld"] == pytest.approx(min(rows.values()), rel=1e-5)
    assert last["epoch"] == 30


def cam(data, out, *overrides, **options):
    changes = [line for line in SMALL if line.startswith(("input.", "model.dim", "model.clip", "train."))]
    recipe = load_cam_recipe("cam", [*changes, *overrides])
    return train_cam(recipe, data, out, device="cpu", progress=False, **options)


def test_the_cam_baseline_learns_names_and_is_scored_by_the_same_evaluation(data, tmp_path):
    best = cam(data, tmp_path / "cam", "train.epochs=15", "train.lr=0.002")
    history = read_history(tmp_path / "cam")
    assert float(history[-1]["train/ego"]) < 0.6 * float(history[0]["train/ego"])
    result = evaluate_grounder(best, data, device="cpu", progress=False)
    assert result.model == "cam"
    assert result.overall["kld_plsp"] < result.references["even map"]["kld_plsp"]
    assert load_cam(best).info["affordances"] == list(read_classes(data).affordances)


def test_the_cam_baseline_looks_at_no_label(data, tmp_path):
    other = write_toy_tree(tmp_path / "other", refined=False)
    for mask in (other / "Seen" / "trainset" / "labels" / "initial").rglob("*.png"):
        mask.write_bytes((data / "Seen" / "testset" / "GT" / "hold" / "knife" / "knife_9100.png").read_bytes())
    for number, root in enumerate((data, other)):
        cam(root, tmp_path / f"cam{number}")
    first, second = (tmp_path / f"cam{number}" / "best" / "model.safetensors" for number in (0, 1))
    assert (
        load_cam(first)
        .model.state_dict()["classify.weight"]
        .equal(load_cam(second).model.state_dict()["classify.weight"])
    )


def test_cut_and_resumed_the_baseline_ends_with_the_same_bytes(data, tmp_path):
    cam(data, tmp_path / "whole", "train.epochs=2")
    cam(data, tmp_path / "cut", "train.epochs=2", "train.max_minutes=1e-6")
    cam(data, tmp_path / "cut", "train.epochs=2", resume=True)
    name = "best/model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", recipe_names("grounder"))
def test_every_shipped_recipe_loads(name):
    recipe = load_grounder_recipe(name)
    assert recipe.name == name
    assert recipe.about
    with pytest.raises(VidaffError, match="pass --model grounder"):
        load_recipe(name)


def test_plsp_has_the_papers_numbers():
    recipe = load_grounder_recipe("plsp")
    train = recipe.train
    assert (train.epochs, train.batch_size, train.micro_batch, train.lr, train.encoder_lr) == (40, 20, 10, 1e-4, 0.1)
    assert (train.betas, train.weight_decay, train.schedule, train.clip_grad) == ((0.9, 0.95), 0.01, "constant", 0)
    assert tuple(train.loss_weights) == (1, 10, 10, 1, 0.1)
    assert (train.stitch, recipe.input.size, recipe.network.dim, recipe.network.margin) == (0.5, (224, 224), 512, 0.1)
    assert (train.labels, train.alignment, train.reasoning) == ("refined", "box", "object")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lrate=1", "train.lrate: unknown key"),
        ("train.alignment=mask", "train.alignment"),
        ("train.micro_batch=5", "must divide"),
        ("train.batch_size=60", "do not fill one batch"),
        ("model.reasoning=false", "train.reasoning=none"),
        ("model.task=refinement", "grounding network"),
        ("input.size=[64, 32]", "square"),
        ("input.size=72", "a multiple of 16, the patch of clip"),
        ("input.text.kind=clip", "not named"),
        ("input.text.kind=files", "no text features"),
        ("input.text.parts=none.yaml", "cannot be read"),
        ("train.encoder_weights=none.pt", "none.pt"),
        ("train.lr=1e30", "diverged"),
    ],
)
def test_bad_settings_end_in_one_line(data, tmp_path, override, said):
    overrides = [override, *(["train.micro_batch=60"] if "=60" in override else [])]
    with pytest.raises(VidaffError, match=said) as caught:
        run(data, tmp_path / "run", *overrides, "train.clip_grad=0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("train_it", [run, cam])
def test_published_weights_decide_the_patch(data, tmp_path, train_it):
    tiny_clip().save_pretrained(tmp_path / "patch8")  # the recipe says 16
    options = ["train.epochs=1", f"train.encoder_weights={tmp_path / 'patch8'}", "train.val_every=5"]
    assert train_it(data, tmp_path / "run", *options, "model.clip.patch=16").is_dir()
    with pytest.raises(VidaffError, match="multiple of 8, the patch of the encoder's weights"):
        train_it(data, tmp_path / "other", *options, "model.clip.patch=4", "input.size=60")


def test_missing_data_and_wrong_models_are_named(data, tmp_path):
    with pytest.raises(VidaffError, match="no such folder"):
        run(tmp_path / "none", tmp_path / "run")
    for arguments, said in (
        (["--dataset", "agd20k"], "needs --data"),
        (["--dataset", "agd20k", "--model", "video", "--data", str(data)], "video does not train on agd20k"),
        (["--model", "grounder", "--data", str(data)], "does not train on sor3d-aff"),
        (["--split", "seen", "--data", str(data)], "--split: for --dataset agd20k only"),
    ):
        done = CliRunner().invoke(cli, ["train", *arguments, "--out", str(tmp_path / "run")])
        assert isinstance(done.exception, VidaffError)
        assert said in str(done.exception)


def test_text_features_are_made_once(data, tmp_path, monkeypatch):
    settings = TextSettings(kind="spelling")
    same = {"classes": read_classes(data), "pairs": sorted(PARTS), "data": data, "split": "seen", "cache": tmp_path}
    first = text_table(settings, 32, **same)
    first.save(tmp_path, settings)
    monkeypatch.setattr(SpellingEncoder, "__call__", lambda *_: pytest.fail("made again"))
    again = text_table(settings, 32, **same)
    torch.testing.assert_close(again.parts, first.parts)
    assert len(first.verbs) == 36 and len(first.nouns) == 50


def test_spelling_knows_words_in_common_and_nothing_else():
    encoder = make_text_encoder(TextSettings(kind="spelling"), 256)
    phrases = ["cut", "cut_with", "cutting", "hold"]
    near = torch.nn.functional.normalize(encoder(phrases), dim=1)
    similarity = near @ near.T
    assert similarity[0, 1] > similarity[0, 2] > similarity[0, 3].abs()
    torch.testing.assert_close(encoder(["Cut  WITH"]), encoder(["cut_with"]))
    assert encoder([]).shape == (0, 256)
    with pytest.raises(ValueError, match="must hold a word"):
        encoder(["  "])


def test_part_texts(tmp_path):
    texts = read_part_texts()
    assert part_words(texts, "cut_with", "knife") == ("knife blade",)
    assert part_words(texts, "ride", "bicycle") == ("bicycle handlebars", "bicycle pedal", "bicycle seat")
    assert part_words(texts, "catch", "soccer_ball") == ("soccer ball",)
    broken = tmp_path / "parts.yaml"
    for content in ("parts: [1]", "x: {}", "parts: {a: {b: 3}}", "- :\n["):
        broken.write_text(content)
        with pytest.raises(VidaffError, match=r"parts.yaml"):
            read_part_texts(broken)


def test_a_damaged_text_table_is_refused(tmp_path):
    table = TextTable({"cut": torch.ones(4)}, {"knife": torch.ones(4)}, {"cut knife": torch.ones(4)})
    path = table.save(tmp_path, TextSettings(kind="spelling"))
    assert TextTable.load(path)[0].dim == 4
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(VidaffError, match="not the text features"):
        TextTable.load(tmp_path)
    with pytest.raises(VidaffError, match="no text features of its own"):
        TextTable.load(tmp_path / "none.safetensors")
