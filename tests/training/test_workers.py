"""A file that breaks after a data set was opened: the loader process that meets it ends the run in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.still_trees import write_umd
from tests.toy_agd20k import write_toy_tree
from vidaff.config import load_recipe
from vidaff.errors import VidaffError
from vidaff.models.baselines.cam import load_cam_recipe
from vidaff.models.baselines.settings import load_detector_recipe
from vidaff.models.image.recipe import load_grounder_recipe
from vidaff.train import train
from vidaff.training.affordancenet import train_affordancenet
from vidaff.training.cam import train_cam
from vidaff.training.grounder import train_grounder
from vidaff.training.workers import plain, plainly

ONE_WORKER = ["train.epochs=1", "train.workers=1"]
UNCACHED = [*ONE_WORKER, "train.cache=false", "train.batch_size=4", "train.warmup_steps=0"]
UNCOUNTED = ["train.prior_bias=false", "train.balance_classes=0", "train.background_weight=1"]
"""Without these, the labels of all pictures are counted before the first epoch."""
SMALL = ["input.size=64", "train.batch_size=36", "train.micro_batch=36", "train.warmup_steps=0"]


def stills(root: Path, out: Path) -> None:
    recipe = load_recipe("static", [*UNCACHED, *UNCOUNTED, "input.size=[24, 32]"])
    train(recipe, root, out, dataset="umd", device="cpu", progress=False)


def detector(root: Path, out: Path) -> None:
    recipe = load_detector_recipe("affordancenet-tiny", [*UNCACHED, "model.mask_channels=16", "model.box_channels=32"])
    train_affordancenet(recipe, root, out, dataset="umd", device="cpu", progress=False)


def grounder(root: Path, out: Path) -> None:
    size = ["model.dim=32", "model.clip.width=32", "model.clip.layers=2", "model.clip.patch=16", "model.clip.grid=4"]
    recipe = load_grounder_recipe("grounder-small", [*SMALL, *ONE_WORKER, *size, "model.fuser.grid=4"])
    train_grounder(recipe, root, out, device="cpu", progress=False)


def cam(root: Path, out: Path) -> None:
    size = ["model.dim=32", "model.clip.width=32", "model.clip.layers=2", "model.clip.patch=16", "model.clip.grid=4"]
    recipe = load_cam_recipe("cam", [*SMALL, *ONE_WORKER, *size])
    train_cam(recipe, root, out, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("write", "pictures", "run"),
    [
        (write_umd, "tools/*/*_0000000[2-4]_rgb.jpg", stills),
        (write_umd, "tools/*/*_0000000[2-4]_rgb.jpg", detector),
        (write_toy_tree, "Seen/trainset/egocentric/*/*/*.png", grounder),
        (write_toy_tree, "Seen/trainset/egocentric/*/*/*.png", cam),
    ],
)
def test_a_broken_picture_is_one_line(
    tmp_path: Path, write: Callable[[Path], Path], pictures: str, run: Callable[[Path, Path], None]
) -> None:
    root = write(tmp_path / "root")
    broken = list(root.glob(pictures))
    assert broken
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(VidaffError) as caught:
        run(root, tmp_path / "out")
    kind = "PNG" if broken[0].suffix == ".png" else "JPEG"
    assert str(caught.value) in {f"{path}: truncated {kind} (no end marker)" for path in broken}
    assert "DataLoader worker" in str(caught.value.__cause__)


def test_other_errors_stay_as_they_are() -> None:
    error = VidaffError("x: no such file")
    assert plain(error) is error


def test_other_errors_are_not_their_own_cause() -> None:
    def batches():
        yield 1
        raise VidaffError("x: no such file")

    with pytest.raises(VidaffError, match="no such file") as caught:
        list(plainly(batches()))
    assert caught.value.__cause__ is None


def test_batches_come_through_until_the_error() -> None:
    def batches():
        yield 1
        raise VidaffError(
            "Caught VidaffError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            '  File "x.py", line 1\nvidaff.errors.VidaffError: y.png: empty\n'
        )

    found = plainly(batches())
    assert next(found) == 1
    with pytest.raises(VidaffError, match=r"^y\.png: empty$"):
        next(found)
