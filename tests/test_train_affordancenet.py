"""AffordanceNet from a data file to a score: it learns, resumes, round-trips, and refuses what cannot work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from tests.datasets.still_trees import write_iit, write_umd
from tests.toy import toy_clip, write_toy_file
from vidaff.cli import cli
from vidaff.config import load_recipe, recipe_names
from vidaff.datasets import Clip, ClipDataset, ClipInfo, load_dataset
from vidaff.datasets.base import ObjectBox
from vidaff.datasets.prepare import PrepareSettings, prepare_clips, write_clip
from vidaff.errors import VidaffError
from vidaff.evaluate import evaluate
from vidaff.models.baselines.checkpoint import build_detector, load_detector, save_detector
from vidaff.models.baselines.settings import DetectorTrain, load_detector_recipe
from vidaff.training.affordancenet import train_affordancenet
from vidaff.training.history import read_history
from vidaff.training.pictures import PictureStore, allowed_classes, find_objects, object_names, objects_of_pixels
from vidaff.weights import load_checkpoint

TOY = ["model.mask_channels=16", "model.box_channels=32", "model.rois=8", "train.batch_size=4", "train.warmup_steps=0"]
TOY += ["model.proposals_train=20", "model.proposals_test=10"]
LEARN = ["train.epochs=80", "train.lr=0.002", "train.val_every=80", "train.colour_jitter=0", "train.flip=false"]
NAMES = {"objects": ["cup"], "classes": [*"abcdefghi", "background"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Black squares afford cutting, grey ones typing: two classes can be learned in seconds."""
    path = write_toy_file(tmp_path_factory.mktemp("toy") / "toy.h5", train=1, val=1, size=64, frames=2)
    with h5py.File(path, "r+") as file:
        for split, start in (("train", 0), ("val", 900)):
            del file[split]
            for number in range(8):
                clip = toy_clip(start + 9 * number + 8 * (number % 2), size=64, frames=2)
                write_clip(file.create_group(f"{split}/{clip.name}"), clip, None)
    return path


def run(data, out, *overrides, **options):
    recipe = load_detector_recipe("affordancenet-tiny", [*TOY, *overrides])
    return train_affordancenet(recipe, data, out, device="cpu", progress=False, **options)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run long enough to learn the toy clips by heart."""
    out = tmp_path_factory.mktemp("run") / "out"
    run(data, out, *LEARN)
    return out


def losses_of_the_same_regions(model, data):
    """Losses of the heads on regions a little beside the true boxes: in a run the regions are others at every step."""
    dataset = load_dataset("sor3d-aff", data, "train")
    settings = DetectorTrain(flip=False)
    pictures = PictureStore(dataset, object_names(dataset), background=9, settings=settings, train=False)
    images = [pictures[index].image for index in range(8)]
    inputs, targets = model.transform(images, [pictures[index].target for index in range(8)])
    beside = torch.tensor([[3.0, -2.0, 4.0, 2.0], [-4.0, 3.0, -2.0, 4.0], [20.0, 20.0, 30.0, 30.0]])
    regions = [(target["boxes"] + beside).clamp(0, 64) for target in targets]
    torch.manual_seed(0)
    with torch.no_grad():
        _, losses = model.train().roi_heads({"0": model.backbone(inputs.tensors)}, regions, inputs.image_sizes, targets)
    return losses


def test_the_three_losses_go_down(trained, data):
    checkpoint = load_detector(trained / "best")
    after = losses_of_the_same_regions(checkpoint.model, data)
    before = losses_of_the_same_regions(build_detector(checkpoint.recipe, checkpoint.info), data)
    assert set(after) == {"classifier", "box", "affordance"}
    for name, loss in after.items():
        assert loss < 0.85 * before[name], name
    history = read_history(trained)
    assert set(history[-1]) >= {"train/class", "train/box", "train/affordance", "val/iou", "val/f"}
    assert float(history[-1]["train/loss"]) < 0.5 * float(history[0]["train/loss"])
    assert float(history[-1]["val/box"]) > 0.6


def test_writes_a_checkpoint_that_says_what_it_is(trained):
    checkpoint = load_detector(trained / "best")
    assert checkpoint.recipe.name == "affordancenet-tiny"
    assert checkpoint.info["objects"] == ["cup"]
    assert checkpoint.classes[-1] == "background"
    assert not checkpoint.model.training
    last = load_detector(trained / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(dict(last.model.state_dict()), dict(load_detector(trained / "last").model.state_dict()))


def test_evaluation_scores_last_frames_beside_another_model(trained, data, tmp_path):
    result = evaluate(trained / "best", data, out=tmp_path / "first", device="cpu", progress=False)
    assert (result.model, result.mode) == ("affordancenet", "static")
    assert result.confusion.sum() == 8 * 64 * 64
    assert np.isnan(result.overall["action_accuracy"])
    train = evaluate(trained / "best", data, split="train", device="cpu", progress=False)
    assert train.overall["mean_iou"] > 0.5
    evaluate(trained / "best", data, out=tmp_path / "second", beside=[tmp_path / "first"], device="cpu", progress=False)
    report = (tmp_path / "second" / "results.md").read_text()
    assert "| **ours, AffordanceNet, static** |" in report
    assert f"| ours, AffordanceNet, static ({trained / 'best'}) |" in report
    assert "| paper: AffordanceNet, static image | 0.56 | 0.62 | 0.62 |" in report
    with pytest.raises(VidaffError, match="--mode static"):
        evaluate(trained / "best", data, mode="video", progress=False)
    with pytest.raises(VidaffError, match="cannot stand beside"):
        evaluate(trained / "best", data, split="train", beside=[tmp_path / "first"], progress=False)
    broken = tmp_path / "first" / "results.json"
    for change, said in (({"overall": 5}, "not the results"), ({"intervals": {"mean_iou": "x"}}, "no numbers")):
        broken.write_text(json.dumps({**result.to_dict(), **change}))
        with pytest.raises(VidaffError, match=said):
            evaluate(trained / "best", data, beside=[tmp_path / "first"], progress=False)


def test_cut_and_resumed_it_ends_with_the_same_bytes(data, tmp_path):
    run(data, tmp_path / "whole", "train.epochs=3")
    run(data, tmp_path / "cut", "train.epochs=3", "train.max_minutes=1e-6")
    assert len(read_history(tmp_path / "cut")) == 1
    run(data, tmp_path / "cut", "train.epochs=3", resume=True)
    for name in ("best/model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(VidaffError, match="already holds files"):
        run(data, tmp_path / "cut")
    with pytest.raises(VidaffError, match=r"other settings \(model.rois\)"):
        run(data, tmp_path / "cut", "model.rois=16", resume=True)


def test_each_model_refuses_checkpoints_of_the_other(trained):
    with pytest.raises(VidaffError, match="another kind of model, expected vidaff-video"):
        load_checkpoint(trained / "best")
    with pytest.raises(VidaffError, match="another kind of model, expected vidaff-video"):
        load_checkpoint(trained / "checkpoints" / "last.ckpt")
    with pytest.raises(VidaffError, match="another kind of model, expected vidaff-affordancenet"):
        load_detector("small")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": {"model": {"backbone": "tiny", "box_channels": 64}}}, "another architecture"),
        ({"info": {"objects": []}}, "info.objects"),
        ({"info": {"objects": ["cup"], "classes": [1]}}, "info.classes"),
        ({"recipe": {"model": {"anchor": 1}}}, "unknown key"),
        ({"version": 7}, "format version 7"),
    ],
)
def test_settings_that_do_not_go_with_the_weights(tmp_path, change, said):
    recipe = load_detector_recipe("affordancenet-tiny", TOY)
    folder = save_detector(tmp_path / "model", build_detector(recipe, NAMES), recipe, NAMES)
    assert load_detector(folder).recipe == recipe
    config = json.loads((folder / "config.json").read_text())
    save_file(
        load_file(folder / "model.safetensors"), tmp_path / "other.safetensors",
        metadata={"config": json.dumps({**config, **change})},
    )  # fmt: skip
    with pytest.raises(VidaffError, match=said):
        load_detector(tmp_path / "other.safetensors")


def test_classes_of_another_data_set_cannot_be_scored(tmp_path, data):
    recipe = load_detector_recipe("affordancenet-tiny", TOY)
    folder = save_detector(tmp_path / "model", build_detector(recipe, NAMES), recipe, NAMES)
    with pytest.raises(VidaffError, match="other classes"):
        evaluate(folder, data, progress=False)


class Stills(ClipDataset):
    """Pictures in memory."""

    def __init__(self, clips: list[Clip]) -> None:
        super().__init__([ClipInfo(clip.name, clip.action, clip.object, clip.subject) for clip in clips])
        self.clips = clips

    def read(self, index: int, frames: slice | None = None) -> Clip:
        return replace(self.clips[index], rgb=self.clips[index].rgb[-1:], depth=None, flow=None)


def store(clip: Clip, **settings) -> PictureStore:
    pictures = Stills([clip])
    return PictureStore(pictures, object_names(pictures), background=9, settings=DetectorTrain(**settings), train=True)


def test_a_flipped_picture_takes_its_box_along():
    clip = toy_clip(5, size=64)
    seen = set()
    for seed in range(8):
        picture = store(clip, flip=True, seed=seed)[0]
        x0, y0, x1, y1 = (int(v) for v in picture.target["boxes"][0])
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[y0:y1, x0:x1] = True
        assert torch.equal(picture.mask == 5, inside)
        assert torch.equal(picture.target["allowed"] == 1 << 5, inside)
        assert len(torch.unique(picture.image[:, inside])) == 1
        seen.add(x0)
    assert len(seen) == 2


def test_any_part_takes_all_labels_and_says_where_there_are_none():
    clip = toy_clip(2, size=64)
    both = np.where(clip.affordances != 0, (1 << 2) | (1 << 6), 0).astype(np.uint16)
    picture = store(replace(clip, affordances=both), labels="any_part", flip=False)[0]
    assert torch.equal(picture.target["allowed"] == (1 << 2) | (1 << 6), picture.mask == 2)
    with pytest.raises(VidaffError, match=r"train\.labels=action"):
        store(replace(clip, affordances=None), labels="any_part")[0]
    with pytest.raises(VidaffError, match="has no label"):
        store(replace(clip, mask=None))[0]


def test_objects_without_a_name_are_the_patches_of_labels():
    mask = np.full((40, 40), 9, np.uint8)
    mask[2:10, 2:10], mask[10:12, 10:12], mask[20:30, 20:30], mask[35, 35] = 0, 3, 1, 2
    mask[0] = 255
    instances = find_objects(mask, None, 9, one=False)
    assert np.unique(instances).tolist() == [-1, 0, 1]
    assert instances[11, 11] == instances[3, 3] == 0 and instances[25, 25] == 1 and instances[35, 35] == -1
    assert np.array_equal(find_objects(mask, None, 9, one=True) == 0, mask < 9)
    allowed = allowed_classes(mask, None, 9)
    assert (allowed[0] == 0).all() and allowed[3, 3] == 1 and allowed[11, 11] == 8 and allowed[18, 18] == 1 << 9


class Spy(torch.nn.Module):
    """Stands for the backbone and notes the size of what it is shown."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.sizes, self.out_channels = inner, [], inner.out_channels

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        return self.inner(images)


def shown(checkpoint, data, **options):
    """Sizes at which a network sees the pictures of UMD."""
    loaded = load_detector(checkpoint)
    loaded.model.backbone = Spy(loaded.model.backbone)
    evaluate(loaded, data, dataset="umd", device="cpu", progress=False, limit=2, **options)
    return set(loaded.model.backbone.sizes)


def test_a_model_of_centre_squares_sees_whole_pictures_at_the_scale_of_its_training(tmp_path):
    """Squares of 32 pixels became 64: whole pictures of 48x64 become 96x128, and are not squeezed into a square."""
    umd = write_umd(tmp_path)
    crops = PrepareSettings(size=(32, 32), centre_crop=32, flow="none")
    whole = PrepareSettings(size=(48, 64), flow="none")
    cropped = prepare_clips("umd", umd, tmp_path / "crop.h5", crops, workers=1, progress=False)
    uncropped = prepare_clips("umd", umd, tmp_path / "whole.h5", whole, workers=1, progress=False)
    best = run(cropped, tmp_path / "run", "train.epochs=1", dataset="umd")
    assert load_detector(best).info["view"] == {"centre_crop": 32}
    assert shown(best, umd) == {(96, 128)}
    assert shown(best, cropped) == {(64, 64)}
    with pytest.raises(VidaffError, match="prepare it with the same --centre-crop"):
        shown(best, uncropped)
    square = load_dataset("umd", umd, "val", centre_crop=24)
    assert shown(best, square) == {(48, 48)}
    result = evaluate(best, square, dataset="umd", device="cpu", progress=False, limit=2)
    assert result.grid == "their centre 24 pixels at their recorded size"
    other = run(umd, tmp_path / "other", "train.epochs=1", dataset="umd")
    assert load_detector(other).info["view"] == {"centre_crop": None}
    assert shown(other, umd) == shown(other, uncropped) == {(64, 64)}
    with pytest.raises(VidaffError, match="trained on whole pictures"):
        shown(other, cropped)


def test_options_of_a_folder_are_kept_with_the_checkpoint(tmp_path):
    umd = write_umd(tmp_path)
    best = run(umd, tmp_path / "run", "train.epochs=1", dataset="umd", options={"protocol": "novel"})
    info = load_detector(best).info
    assert info["options"]["protocol"] == "novel" and info["train_pictures"] == 20 and "ladle" not in info["objects"]
    result = evaluate(best, umd, dataset="umd", device="cpu", progress=False)
    assert {clip["object"] for clip in result.clips} == {"ladle"} and "mean_ranked" in result.overall
    with pytest.raises(VidaffError, match="resume with the same"):
        run(umd, tmp_path / "run", "train.epochs=1", dataset="umd", resume=True)


@pytest.fixture(scope="module")
def iit(tmp_path_factory):
    return write_iit(tmp_path_factory.mktemp("iit"))


@pytest.mark.parametrize("prepared", [False, True])
def test_iit_aff_trains_on_its_own_boxes_and_object_names(iit, prepared, tmp_path):
    """As the published system: a box around all of an object, its kind, and its pixels among those of others."""
    data = iit
    if prepared:
        settings = PrepareSettings(size=(48, 64), flow="none")
        data = prepare_clips("iit-aff", iit, tmp_path / "iit.h5", settings, workers=1, progress=False)
    dataset = load_dataset("iit-aff", data, "train")
    names = object_names(dataset)
    assert names == ["bowl", "tvm", "pan", "hammer", "knife", "cup", "drill", "racket", "spatula", "bottle"]
    settings = DetectorTrain(flip=False, cache=True)
    pictures = PictureStore(dataset, names, background=9, settings=settings, train=True)
    for _ in range(2):  # the second time from the cache
        target = pictures[0].target
        assert target["boxes"].tolist() == [[8, 8, 25, 21], [30, 30, 61, 41]]
        assert [names[label - 1] for label in target["labels"].tolist()] == ["hammer", "knife"]
        assert torch.equal(target["instances"] == 0, pictures[0].mask == 4)
        assert torch.equal(target["instances"] == 1, pictures[0].mask == 1)
    best = run(data, tmp_path / "run", "train.epochs=1", "train.batch_size=2", dataset="iit-aff")
    assert load_detector(best).info["objects"] == names


def test_mirrored_boxes_go_with_the_picture(iit):
    dataset = load_dataset("iit-aff", iit, "train")
    seen = set()
    for seed in range(8):
        settings = DetectorTrain(flip=True, seed=seed)
        picture = PictureStore(dataset, object_names(dataset), background=9, settings=settings, train=True)[0]
        x0, y0, x1, y1 = (int(side) for side in picture.target["boxes"][0])
        assert (picture.mask[y0:y1, x0:x1] == 4).sum() == (picture.mask == 4).sum() > 0
        seen.add(x0)
    assert seen == {8, 64 - 25}


def test_pixels_within_two_boxes_belong_to_the_smaller():
    labelled = np.zeros((20, 20), bool)
    labelled[4:16, 4:16] = True
    boxes = (ObjectBox("pan", 2, 2, 14, 14), ObjectBox("knife", 8, 8, 12, 12))
    for order in (1, -1):
        owners = objects_of_pixels(labelled, boxes[::order])
        assert (owners[5, 5], owners[9, 9]) == ((0, 1) if order == 1 else (1, 0))
        assert owners[15, 15] == owners[3, 3] == -1


@pytest.mark.parametrize("name", recipe_names("affordancenet"))
def test_every_shipped_recipe_loads(name):
    recipe = load_detector_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert recipe.train.select == "last"  # the pictures that are watched are those that are reported
    with pytest.raises(VidaffError, match="pass --model affordancenet"):
        load_recipe(name)


def test_a_run_of_the_command_line(data, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "--model", "affordancenet", "--recipe", "affordancenet-tiny", "--data", str(data)]
    arguments += ["--out", str(out), "--device", "cpu", "--quiet", "--set", "train.epochs=1"]
    arguments += [word for override in TOY for word in ("--set", override)]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.strip() == f"checkpoint: {out / 'best'}"
    words = ["eval", "--checkpoint", str(out / "best"), "--data", str(data), "--device", "cpu", "--limit", "2"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "2 clips of sor3d-aff, split `val`, static inference" in done.output


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lrate=1", "train.lrate: unknown key"),
        ("model.mask_size=100", "model.mask_size"),
        ("model.anchors=[0]", "above 0"),
        ("input.size=4", "at least 8"),
        ("train.batch_size=64", "do not fill one batch"),
        ("train.backbone_weights=none.pth", "no such weights"),
        ("model.backbone=resnet50", "takes 5 of them"),
        ("train.lr=1e30", "diverged"),
    ],
)
def test_bad_settings_end_in_one_line(data, tmp_path, override, said):
    with pytest.raises(VidaffError, match=said) as caught:
        run(data, tmp_path / "run", override, "train.epochs=1")
    assert "\n" not in str(caught.value)


def test_data_without_labels_is_refused_by_name(tmp_path):
    with pytest.raises(VidaffError, match="no affordance labels"):
        run(Path("none"), tmp_path / "run", dataset="utkinect")
    with pytest.raises(VidaffError, match="no such file"):
        run(Path("none"), tmp_path / "run")
