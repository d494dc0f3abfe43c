"""Pre-training of the encoder on a toy UTKinect: it learns, resumes, leaves sequences out, and hands its weights on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.datasets.still_trees import depth_xml
from tests.toy import write_toy_file
from vidaff.cli import cli
from vidaff.config import load_recipe, recipe_names
from vidaff.datasets.utkinect import ACTIONS
from vidaff.errors import VidaffError
from vidaff.evaluate_actions import evaluate_actions, wilson
from vidaff.io import write_image
from vidaff.models.video.action_encoder import build_action_encoder
from vidaff.models.video.encoder_checkpoint import load_encoder, save_encoder
from vidaff.models.video.encoder_settings import EncoderModel, load_encoder_recipe
from vidaff.train import train
from vidaff.training.actions import ActionClips, collate
from vidaff.training.encoder import train_encoder
from vidaff.training.history import read_history
from vidaff.weights import load_checkpoint, load_torch_file

SEQUENCES = ("s01_e01", "s01_e02", "s02_e01", "s06_e01", "s06_e02")
SHOWN = ("walk", "sitDown", "standUp", "push", "pull")
TOY = ["input.size=32", "train.batch_size=3", "train.warmup_steps=5", "train.clip_length=4", "model.hidden=32"]


def toy_frame(action: str, step: int, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Walking is green. Sitting down and standing up are the same frames in opposite orders. Pushing is near."""
    rgb = rng.integers(90, 130, (48, 64, 3), dtype=np.uint8)
    depth = np.full((24, 32), {"push": 900, "pull": 3500}.get(action, 2000))
    if action == "walk":
        rgb[..., 1] = 220
    elif action in ("sitDown", "standUp"):
        row = 8 * (step if action == "sitDown" else steps - 1 - step)
        rgb[row : row + 8] = 250
    return rgb, depth


def write_tree(root: Path, sequences=SEQUENCES, *, frames: int = 5) -> Path:
    """The real layout; actions of ``frames`` files, ``pull`` of two more."""
    lines = []
    for number, sequence in enumerate(sequences):
        rng, at = np.random.default_rng(number), 100
        (root / "depth" / sequence).mkdir(parents=True)
        lines.append(sequence)
        for action in SHOWN:
            steps, first = frames + 2 * (action == "pull"), at
            for step in range(steps):
                rgb, depth = toy_frame(action, step, steps, rng)
                write_image(root / "RGB" / sequence / f"colorImg{at}.jpg", rgb)
                (root / "depth" / sequence / f"depthImg{at}.xml").write_text(depth_xml(at, depth))
                at += 2
            lines.append(f"{action}: {first} {at - 2}")
    (root / "actionLabel.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("utkinect"))


def run(data, out, *overrides, **options):
    recipe = load_encoder_recipe("encoder-small", [*TOY, *overrides])
    return train_encoder(recipe, data, out, device="cpu", progress=False, **options)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run long enough to tell the toy actions apart."""
    out = tmp_path_factory.mktemp("run") / "out"
    run(data, out, "train.epochs=25", "train.val_every=25")
    return out


def test_the_loss_falls_and_unseen_subjects_are_told_far_above_chance(trained):
    history = read_history(trained)
    assert float(history[-1]["train/loss"]) < 0.3 * float(history[0]["train/loss"])
    results = json.loads((trained / "results.json").read_text())
    assert (results["protocol"], results["num_clips"], results["split"]) == ("half", 10, "val")
    assert results["accuracy"] >= 0.8
    assert float(history[-1]["val/action"]) == pytest.approx(results["accuracy"])
    # Frames alone cannot tell these two apart: the LSTM has learned their order.
    assert results["per_action"]["sitDown"] + results["per_action"]["standUp"] > 1
    assert {path.name for path in trained.iterdir()} >= {"results.md", "results.csv", "confusion.png", "metrics.csv"}


def test_the_checkpoint_says_what_it_is_and_is_scored_again(trained, data, tmp_path):
    checkpoint = load_encoder(trained / "best")
    assert checkpoint.recipe.name == "encoder-small"
    facts = {key: checkpoint.info[key] for key in ("dataset", "protocol", "epoch", "train_clips", "data")}
    assert facts == {"dataset": "utkinect", "protocol": "half", "epoch": 25, "train_clips": 15, "data": data.name}
    assert checkpoint.info["actions"] == list(ACTIONS)
    assert checkpoint.info["val"]["action"] >= 0.8
    out = tmp_path / "eval"
    result = evaluate_actions(trained / "best", data, device="cpu", out=out, batch_size=3, progress=False)
    stored = json.loads((trained / "results.json").read_text())
    assert result.confusion.tolist() == stored["confusion"]
    assert np.trace(result.confusion) == round(result.accuracy * 10)
    assert [clip["name"] for clip in result.clips] == [clip["name"] for clip in stored["clips"]]
    assert "Accuracy over clips" in (out / "results.md").read_text()
    rows = (out / "results.csv").read_text().splitlines()
    assert rows[0] == "truth,predicted,clips"
    assert sum(int(row.rsplit(",", 1)[1]) for row in rows[1:]) == 10
    train_side = evaluate_actions(trained / "best", data, split="train", device="cpu", limit=4, progress=False)
    assert train_side.confusion.sum() == 4
    with pytest.raises(VidaffError, match="another kind of model, expected vidaff-video, got 'vidaff-encoder'"):
        load_checkpoint(trained / "best")
    with pytest.raises(VidaffError, match="expected vidaff-encoder"):
        evaluate_actions("small", data)
    with pytest.raises(VidaffError, match="was not trained on the 10 actions"):
        odd = save_encoder(tmp_path / "odd", checkpoint.model, checkpoint.recipe, {"protocol": "x"})
        evaluate_actions(odd, data)


def test_cut_and_resumed_it_ends_with_the_same_bytes(data, tmp_path):
    more = ("train.epochs=2", "model.dropout=0.3", "train.depth_dropout=0.3")
    run(data, tmp_path / "whole", *more)
    run(data, tmp_path / "cut", *more, "train.max_minutes=1e-6")
    assert len(read_history(tmp_path / "cut")) == 1
    run(data, tmp_path / "cut", *more, resume=True)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(VidaffError, match="already holds files"):
        run(data, tmp_path / "cut", *more)
    with pytest.raises(VidaffError, match=r"other settings \(model.hidden\)"):
        run(data, tmp_path / "cut", *more, "model.hidden=16", resume=True)
    with pytest.raises(VidaffError, match=r"protocol 'half' then, 's01_e01' now"):
        run(data, tmp_path / "cut", *more, fold="s01_e01", resume=True)


def test_each_sequence_is_left_out_once(data, tmp_path):
    said = []
    out = run(data, tmp_path / "loso", "train.epochs=1", protocol="loso", say=said.append)
    assert out == tmp_path / "loso"
    results = json.loads((out / "results.json").read_text())
    assert list(results["folds"]) == list(SEQUENCES)
    assert sorted(clip["name"] for clip in results["clips"]) == sorted(f"{s}_{a}" for s in SEQUENCES for a in SHOWN)
    mean = np.mean([fold["accuracy"] for fold in results["folds"].values()])
    assert results["mean_fold_accuracy"] == pytest.approx(mean)
    confusions = []
    for name in SEQUENCES:
        fold = json.loads((out / name / "results.json").read_text())
        assert {clip["name"][:7] for clip in fold["clips"]} == {name}
        assert load_encoder(out / name / "best").info["train_clips"] == 20
        confusions.append(fold["confusion"])
    assert results["confusion"] == np.sum(confusions, axis=0).tolist()
    assert "5 of 20 sequences" in said[-1] and f"**{mean:.3f}**" in said[-1]
    # A table that was lost with one fold's last epoch is made again; the other folds are not trained again.
    (out / "results.md").unlink()
    before = (out / "s06_e01" / "last" / "model.safetensors").stat().st_mtime_ns
    run(data, out, "train.epochs=1", protocol="loso", resume=True)
    assert (out / "results.md").is_file()
    assert (out / "s06_e01" / "last" / "model.safetensors").stat().st_mtime_ns == before


def test_a_fold_alone(data, tmp_path):
    best = run(data, tmp_path / "run", "train.epochs=1", protocol="loso", fold="s02_e01")
    assert best == tmp_path / "run" / "best"
    assert load_encoder(best).info["protocol"] == "s02_e01"


def weights_of(path, stream="rgbd_encoder"):
    return load_checkpoint(path).model.get_submodule(stream).state_dict()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_toy_file(tmp_path_factory.mktemp("toy") / "toy.h5", train=4, val=2, size=32, frames=3)


def train_video(clips, out, *overrides, **options):
    settings = ["train.batch_size=2", "train.clip_length=3", "train.drop_first=1", "input.size=32", "train.epochs=1"]
    recipe = load_recipe("tiny", [*settings, "train.pretrain_epochs=0", "train.select=last", *overrides])
    return train(recipe, clips, out, device="cpu", progress=False, **options)


STILL = ("train.lr=1e-12", "train.weight_decay=0")
"""So slow that what is exported is what the training began with."""


def test_the_video_model_begins_with_the_pre_trained_encoder(trained, clips, tmp_path):
    said = []
    best = train_video(clips, tmp_path / "a", *STILL, init={"rgbd": trained / "best"}, say=said.append)
    wanted = load_encoder(trained / "best").model.rgbd_encoder.state_dict()
    for name, tensor in weights_of(best).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=1e-7)
    plain = train_video(clips, tmp_path / "b", *STILL)
    assert not torch.allclose(weights_of(plain)["stages.0.0.weight"], wanted["stages.0.0.weight"], atol=1e-2)
    # All else is drawn as it is without given weights.
    flow = weights_of(plain, "flow_encoder")
    for name, tensor in weights_of(best, "flow_encoder").items():
        torch.testing.assert_close(tensor, flow[name], rtol=0, atol=1e-7)
    record = load_checkpoint(best).info["init"]["rgbd"]
    assert record["kind"] == "vidaff encoder"
    assert len(record["taken"]) == 11
    assert len(said) == 1 and "11 convolutions taken" in said[0]
    assert "init" not in load_checkpoint(plain).info


def test_a_resumed_run_does_not_read_the_first_weights_again(trained, clips, tmp_path):
    source = save_encoder(
        tmp_path / "source", load_encoder(trained / "best").model, load_encoder(trained / "best").recipe, {}
    )
    train_video(clips, tmp_path / "whole", "train.epochs=2", init={"rgbd": source})
    out = tmp_path / "cut"
    train_video(clips, out, "train.epochs=2", "train.max_minutes=1e-6", init={"rgbd": source})
    for file in source.iterdir():
        file.unlink()
    with pytest.raises(VidaffError, match="leave --init out to resume it"):
        train_video(clips, out, "train.epochs=2", init={"rgbd": "other/file"}, resume=True)
    said = []
    train_video(clips, out, "train.epochs=2", init={"rgbd": source}, resume=True, say=said.append)
    assert "began with" in said[0]
    wanted = weights_of(tmp_path / "whole" / "best")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights_of(out / "best").items())
    assert load_checkpoint(out / "best").info["init"]["rgbd"]["from"].endswith("/source")
    stored = load_torch_file(out / "checkpoints" / "last.ckpt")["hyper_parameters"]["info"]
    assert "init" in stored


def test_pre_training_itself_may_begin_with_given_weights(trained, data, tmp_path):
    slow = ("train.epochs=1", "train.lr=1e-12")
    best = run(data, tmp_path / "run", *slow, init={"rgbd": trained / "checkpoints" / "last.ckpt"})
    wanted = load_encoder(trained / "last").model.rgbd_encoder.state_dict()
    found = load_encoder(best)
    for name, tensor in found.model.rgbd_encoder.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=1e-7)
    assert found.info["init"]["rgbd"]["kind"] == "vidaff encoder"


def test_long_clips_are_thinned_and_short_ones_filled_up(data):
    recipe = load_encoder_recipe("encoder-small", ["input.size=16", "train.clip_length=3", "input.fps=15"])
    clips = ActionClips(data, recipe)
    samples = [clips.split("half", "train")[number] for number in range(5)]
    assert {clips.info(int(s["index"])).name: int(s["length"]) for s in samples} == {
        "s01_e01_pull": 3, "s01_e01_push": 3, "s01_e01_sitDown": 3, "s01_e01_standUp": 3, "s01_e01_walk": 3,
    }  # fmt: skip
    short = {key: value[:1] if value.ndim else value for key, value in samples[0].items()} | {"length": torch.tensor(1)}
    batch = collate([short, samples[1]])
    assert batch["rgb"].shape == (2, 3, 16, 16, 3)
    assert batch["rgb"][0, 1:].sum() == 0 and batch["depth"][0, 1:].sum() == 0
    assert torch.equal(batch["rgb"][1], samples[1]["rgb"])


def test_padding_and_company_do_not_change_what_is_said_of_a_clip():
    torch.manual_seed(0)
    model = build_action_encoder(EncoderModel(width=0.125, hidden=16, init="he")).eval()
    clip = torch.randn(1, 3, 4, 16, 16)
    padded = torch.cat([clip, torch.full((1, 2, 4, 16, 16), 9.0)], dim=1)
    batch = torch.cat([padded, torch.randn(1, 5, 4, 16, 16)])
    with torch.no_grad():
        alone = model(clip, torch.tensor([3]))
        together = model(batch, torch.tensor([3, 5]))
        backwards = model(clip.flip(1), torch.tensor([3]))
    torch.testing.assert_close(together[:1], alone)
    assert not torch.allclose(backwards, alone)
    for lengths in ([0], [4], [1, 2]):
        with pytest.raises(ValueError, match="lengths must be"):
            model(clip, torch.tensor(lengths))
    with pytest.raises(ValueError, match=r"rgbd must be \(B, T, 4, H, W\)"):
        model(clip[:, :, :3], torch.tensor([3]))


@pytest.mark.parametrize("name", recipe_names("encoder"))
def test_every_shipped_recipe_fits_a_recipe_of_the_video_model(name):
    recipe = load_encoder_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert recipe.train.epochs == 50
    fitting = ("paper",) if name == "encoder" else ("small", "tiny")
    for other in fitting:
        assert (recipe.model.depth, recipe.model.width) == (
            load_recipe(other).model.depth, load_recipe(other).model.width,
        )  # fmt: skip
    with pytest.raises(VidaffError, match="pass --model encoder"):
        load_recipe(name)


def test_the_paper_s_encoder_takes_a_frame():
    model = build_action_encoder(load_encoder_recipe("encoder").model).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 4, 64, 64), torch.tensor([1])).shape == (1, 10)


def invoke(*words):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def test_the_command_line_trains_hands_on_and_evaluates(data, clips, tmp_path):
    common = ["--device", "cpu", "--quiet", *[word for override in TOY for word in ("--set", override)]]
    out = tmp_path / "encoder"
    words = ["train", "--dataset", "utkinect", "--data", data, "--recipe", "encoder-small", "--out", out, *common]
    done = invoke(*words, "--set", "train.epochs=1")
    assert done.output.strip() == f"checkpoint: {out / 'best'}"
    done = invoke("eval", "--checkpoint", out / "best", "--dataset", "utkinect", "--data", data, "--device", "cpu")
    assert "10 clips of utkinect, protocol `half`, split `val` (held out)" in done.output
    words = ["train", "--recipe", "tiny", "--data", clips, "--out", tmp_path / "video", "--device", "cpu", "--quiet"]
    settings = ["train.batch_size=2", "train.clip_length=3", "train.drop_first=1", "input.size=32", "train.epochs=1"]
    words += [word for override in [*settings, "train.pretrain_epochs=0"] for word in ("--set", override)]
    done = invoke(*words, "--init", f"rgbd={out / 'best'}")
    assert "RGB-D encoder begins with encoder/best (vidaff encoder): 11 convolutions taken" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "encoder"], "--dataset utkinect, which 'sor3d-aff' is not"),
        (["--model", "encoder", "--dataset", "utkinect", "--fold", "s11_e01"], "a sequence such as s03_e01"),
        (["--dataset", "utkinect", "--protocol", "half", "--fold", "s01_e01"], "the half split has no folds"),
        (["--dataset", "utkinect", "--fold", "s10_e02"], "holds no clips"),
        (["--dataset", "utkinect", "--set", "train.batch_size=64"], "15 training clips do not fill one batch"),
        (["--dataset", "utkinect", "--set", "model.num_actions=9"], "utkinect has 10"),
        (["--dataset", "utkinect", "--set", "model.latent=1"], "model.latent: unknown key"),
        (["--dataset", "utkinect", "--init", "flow=x"], "has no flow encoder"),
        (["--protocol", "loso"], "for --model encoder only"),
        (["--model", "affordancenet", "--init", "rgbd=x"], "for --model video and encoder only"),
        (["--dataset", "utkinect", "--set", "train.lr=1e30"], "diverged"),
    ],
)
def test_what_cannot_work_ends_in_one_line(data, tmp_path, words, said):
    recipe = [] if "affordancenet" in words or "--protocol" in words[:1] else ["--recipe", "encoder-small"]
    options = ["--data", data, "--out", tmp_path / "run", "--device", "cpu", "--quiet", *recipe]
    small = ["input.size=16", "train.epochs=1"] if recipe else []
    sets = [word for override in small for word in ("--set", override)]
    with pytest.raises(VidaffError, match=said) as caught:
        invoke("train", *options, *sets, *words)
    assert "\n" not in str(caught.value)


def test_data_that_is_missing_is_named(data, tmp_path):
    with pytest.raises(VidaffError, match="needs --data"):
        invoke("train", "--dataset", "utkinect", "--out", tmp_path / "run")
    with pytest.raises(VidaffError, match="no such folder"):
        run(tmp_path / "none", tmp_path / "run")
    with pytest.raises(VidaffError, match="a file; a folder in the layout"):
        run(data / "actionLabel.txt", tmp_path / "run")
    with pytest.raises(VidaffError, match=r"has no actionLabel\.txt"):
        run(tmp_path, tmp_path / "run")
    with pytest.raises(VidaffError, match="val side of protocol 'half' holds no clips"):
        run(write_tree(tmp_path / "half", ("s01_e01", "s02_e02")), tmp_path / "run")


@pytest.mark.parametrize("cache", ["true", "false"])
def test_a_broken_picture_is_named_in_one_line(tmp_path, cache):
    root = write_tree(tmp_path / "tree", ("s01_e01", "s06_e01"))
    broken = root / "RGB" / "s01_e01" / "colorImg104.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(VidaffError, match=f"{broken}: truncated JPEG") as caught:
        run(root, tmp_path / "run", "train.epochs=1", f"train.cache={cache}")
    assert "\n" not in str(caught.value)


def test_depth_may_be_absent_where_the_model_has_none(tmp_path):
    root = write_tree(tmp_path / "tree", ("s01_e01", "s06_e01"))
    (root / "depth").rename(tmp_path / "elsewhere")
    with pytest.raises(VidaffError, match=r"has no depth; set model\.depth=false"):
        run(root, tmp_path / "run", "train.epochs=1")
    best = run(root, tmp_path / "rgb", "train.epochs=1", "model.depth=false", "train.cache=false", "train.workers=0")
    assert load_encoder(best).model.rgbd_encoder.stages[0][0].in_channels == 3


def test_the_interval_of_a_share():
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
