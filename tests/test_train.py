"""Training: it learns, resumes bit-identically after kill -9, and refuses what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.toy import write_toy_file
from vidaff.config import load_recipe
from vidaff.errors import VidaffError
from vidaff.train import train
from vidaff.training.batches import spread
from vidaff.training.history import read_history
from vidaff.weights import load_checkpoint

TOY = [
    "train.epochs=4",
    "train.pretrain_epochs=1",
    "train.clip_length=4",
    "train.drop_first=1",
    "input.size=32",
    "train.batch_size=4",
    "train.pretrain_batch=8",
    "train.val_every=1",
    "train.precision=fp32",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_file(tmp_path_factory.mktemp("toy") / "toy.h5")


def run(data, out, *overrides, **options):
    recipe = load_recipe("tiny", [*TOY, *overrides])
    return train(recipe, data, out, device="cpu", progress=False, **options)


def test_writes_all_it_promises(data, tmp_path):
    best = run(data, tmp_path / "run")
    assert best == tmp_path / "run" / "best"
    for name in ("recipe.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "last/config.json"):
        assert (tmp_path / "run" / name).is_file(), name
    pictures = sorted(p.name for p in (tmp_path / "run" / "pictures").iterdir())
    assert pictures == [f"epoch_{n:04d}.png" for n in (1, 2, 3, 4)]
    history = read_history(tmp_path / "run")
    assert [int(row["epoch"]) for row in history] == [0, 1, 2, 3]
    assert "train/pretrain" in history[0]
    assert "train/action" in history[-1]
    checkpoint = load_checkpoint(best)
    assert checkpoint.info["classes"][-1] == "background"
    assert checkpoint.recipe == load_recipe("tiny", TOY)
    torch.testing.assert_close(
        dict(load_checkpoint(tmp_path / "run/checkpoints/last.ckpt").model.state_dict()),
        dict(load_checkpoint(tmp_path / "run/last").model.state_dict()),
    )


def test_learns_the_toy_clips(data, tmp_path):
    run(data, tmp_path / "run", "train.epochs=14", "train.static_share=0", "train.lr=0.003", "train.val_every=14")
    history = read_history(tmp_path / "run")
    assert float(history[-1]["train/video_loss"]) < 0.8 * float(history[1]["train/video_loss"])


def test_kill_9_and_resume_end_with_the_same_bytes(data, tmp_path):
    arguments = [sys.executable, "-m", "vidaff", "train", "--data", str(data), "--recipe", "tiny", "--device", "cpu"]
    for override in [*TOY, "train.epochs=6", "train.precision=bf16"]:
        arguments += ["--set", override]
    # One thread: how sums are split over threads must not depend on what else the machine does.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*arguments, "--quiet", "--out", tmp_path / "whole"], check=True, env=environment, timeout=300)
    cut = subprocess.Popen([*arguments, "--quiet", "--out", tmp_path / "cut"], env=environment)
    _wait_for_checkpoints(tmp_path / "cut" / "checkpoints" / "last.ckpt", 3)
    cut.send_signal(signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL
    assert len(read_history(tmp_path / "cut")) < 6
    resume = [*arguments, "--quiet", "--resume", "--out", tmp_path / "cut"]
    subprocess.run(resume, check=True, env=environment, timeout=300)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, resumed = read_history(tmp_path / "whole"), read_history(tmp_path / "cut")
    assert resumed[-1] == whole[-1]
    assert [row["epoch"] for row in resumed] == [row["epoch"] for row in whole]


def _wait_for_checkpoints(path, count):
    """Return as soon as ``path`` has been replaced ``count`` times."""
    seen, deadline = set(), time.monotonic() + 200
    while len(seen) < count:
        assert time.monotonic() < deadline, "no checkpoint appeared"
        if path.exists():
            seen.add((path.stat().st_ino, path.stat().st_mtime_ns))
        time.sleep(0.002)


@pytest.mark.parametrize("micro", [[], ["train.micro_batch=2"]], ids=["whole batches", "micro-batches"])
def test_a_time_limit_cuts_an_epoch_and_resuming_goes_on_with_its_rest(data, tmp_path, micro):
    """Cut in the first epoch and in a later one; in the end the weights are those of a run in one go."""
    same = ["train.schedule=constant", *micro]
    at_once = "train.max_minutes=1e-6"
    run(data, tmp_path / "whole", *same)
    run(data, tmp_path / "cut", *same, at_once)
    assert [int(row["epoch"]) for row in read_history(tmp_path / "cut")] == [0]
    assert (tmp_path / "cut" / "best" / "model.safetensors").is_file()
    assert batches_done(tmp_path / "cut") == (0, 2 if micro else 1)
    run(data, tmp_path / "cut", *same, "train.epochs=2", resume=True)
    # Minutes count over all sittings that have a limit; the one before had none.
    run(data, tmp_path / "cut", *same, at_once, resume=True)
    assert batches_done(tmp_path / "cut") == (2, 2 if micro else 1)
    run(data, tmp_path / "cut", *same, resume=True)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, resumed = read_history(tmp_path / "whole"), read_history(tmp_path / "cut")
    assert resumed[-1] == whole[-1]
    assert [(row["epoch"], row["step"]) for row in resumed] == [(row["epoch"], row["step"]) for row in whole]


def batches_done(out):
    """Whole epochs, and batches of the next one, before the checkpoint that is resumed from."""
    loops = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["loops"]["fit_loop"]
    return (
        loops["epoch_progress"]["current"]["processed"],
        loops["epoch_loop.batch_progress"]["current"]["processed"],
    )


def test_a_rate_that_is_far_too_high_ends_in_one_line_and_leaves_no_checkpoint(data, tmp_path):
    with pytest.raises(VidaffError, match=r"diverged: .* epoch 1, after optimiser step \d+; lower train.lr") as caught:
        run(data, tmp_path / "run", "train.lr=1e30", "train.epochs=2")
    assert "\n" not in str(caught.value)
    assert not [path for name in ("checkpoints", "last", "best") for path in (tmp_path / "run" / name).glob("*")]


@pytest.mark.parametrize(
    ("spoiled", "val_every", "cut", "said"),
    [
        ("loss", 1, [], "the loss is"),
        ("weights", 1, [], "the network's output is"),
        ("weights", 3, [], r"model\.\S+ is"),
        ("weights", 1, ["train.max_minutes=1e-6"], r"model\.\S+ is"),
    ],
)
def test_a_training_that_diverges_keeps_the_last_good_epoch(data, tmp_path, monkeypatch, spoiled, val_every, cut, said):
    out = tmp_path / "run"
    run(data, out, "train.epochs=1", "train.static_share=0")
    files = [out / "checkpoints" / "last.ckpt", out / "last" / "model.safetensors", out / "best" / "model.safetensors"]
    kept = [file.read_bytes() for file in files]

    def spoil(module, values, count):
        """Called between a step's loss and its way back."""
        if module.trainer.is_last_batch or module.recipe.train.max_minutes:
            target = values["train/video_loss"] if spoiled == "loss" else next(module.parameters())
            target.data.fill_(float("nan"))

    monkeypatch.setattr("vidaff.training.module.VideoModule._log", spoil)
    with pytest.raises(VidaffError, match=f"diverged: {said} not finite in epoch 2"):
        run(data, out, "train.epochs=2", "train.static_share=0", f"train.val_every={val_every}", *cut, resume=True)
    assert [file.read_bytes() for file in files] == kept


def test_denormal_numbers_are_back_after_training(data, tmp_path):
    tiny = torch.tensor([1e-40])
    run(data, tmp_path / "run", "train.epochs=1")
    assert tiny.mul(1).item() > 0
    with pytest.raises(VidaffError):
        run(data, tmp_path / "run")
    assert tiny.mul(1).item() > 0


def test_micro_batches_make_the_same_first_step(data, tmp_path):
    same = ["train.epochs=1", "train.pretrain_epochs=0", "train.static_share=0", "train.drop_first=0"]
    same += ["train.flip=false", "train.colour_jitter=0", "train.background_weight=1", "train.balance_classes=0"]
    same += ["train.dice=0", "train.batch_size=16", "train.lr=0.001"]
    whole = load_checkpoint(run(data, tmp_path / "a", *same)).model.state_dict()
    parts = load_checkpoint(run(data, tmp_path / "b", *same, "train.micro_batch=4")).model.state_dict()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=3e-4, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.batch_size=64", "do not fill one batch"),
        ("model.second_stream=flow2d", "--flow dis2d"),
        ("train.pretrain_batch=40", "do not fill one batch"),
        ("model.num_actions=5", "have 9 of each"),
    ],
)
def test_data_that_cannot_serve_the_recipe(data, tmp_path, override, said):
    with pytest.raises(VidaffError, match=said):
        run(data, tmp_path / "run", override)


def test_out_and_resume_are_guarded(data, tmp_path):
    out = tmp_path / "run"
    run(data, out, "train.epochs=2")
    with pytest.raises(VidaffError, match="already holds files"):
        run(data, out)
    with pytest.raises(VidaffError, match=r"other settings \(train.lr\)"):
        run(data, out, "train.lr=0.5", resume=True)
    run(data, out, "train.epochs=3", resume=True)
    assert len(read_history(out)) == 3
    run(data, out, "train.epochs=1", overwrite=True)
    assert len(read_history(out)) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named(data, tmp_path):
    with pytest.raises(VidaffError, match="try cpu"):
        train(load_recipe("tiny", TOY), data, tmp_path / "run", device="cuda", progress=False)


def test_epochs_without_validation_are_never_taken_for_the_best(data, tmp_path):
    run(data, tmp_path / "run", "train.epochs=3", "train.pretrain_epochs=0", "train.val_every=2")
    best, last = (load_checkpoint(tmp_path / "run" / name).info for name in ("best", "last"))
    assert (best["epoch"], last["epoch"]) == (2, 3)
    assert set(best["val"]) == {"iou", "f", "action"}
    assert last["val"] == {}


def test_validation_clips_are_spread_and_counted():
    assert spread(9, None) == list(range(9))
    assert spread(9, 20) == list(range(9))
    assert spread(9, 3) == [0, 4, 8]
    assert all(len(set(spread(270, count))) == count for count in range(1, 271))


@pytest.mark.parametrize("variant", ["model.second_stream=none", "model.depth=false", "train.coarse_epochs=1"])
def test_variants_train(data, tmp_path, variant):
    extra = ["train.coarse_size=16"] if "coarse" in variant else []
    run(data, tmp_path / "run", "train.epochs=2", *extra, variant)


@pytest.mark.slow
def test_two_processes_share_the_global_batch(data, tmp_path):
    arguments = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611", "-m", "vidaff"]
    arguments += [
        "train",
        "--data",
        str(data),
        "--recipe",
        "tiny",
        "--device",
        "cpu",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
    ]
    for override in TOY:
        arguments += ["--set", override]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, env=environment, timeout=300)
    alone = load_checkpoint(run(data, tmp_path / "alone")).recipe
    assert load_checkpoint(tmp_path / "run" / "best").recipe == alone
    # Same number of optimiser steps as one process makes.
    assert [r["step"] for r in read_history(tmp_path / "run")] == [r["step"] for r in read_history(tmp_path / "alone")]


def test_data_of_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"does not train on 'umd'.*affordancenet"):
        train(load_recipe("tiny"), tmp_path, tmp_path / "out", dataset="umd", progress=False)
