"""Training of the refinement network on coloured bars, half of which a hand covers in exocentric pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toy_agd20k import COLOURS, PARTS, write_toy_tree
from vidaff.datasets.agd20k import Agd20kTree, LabelFolder, Picture
from vidaff.errors import VidaffError
from vidaff.io import read_image
from vidaff.labels.engine import tree_items
from vidaff.labels.pictures import LabelledPictures, OwnLabels
from vidaff.labels.refine_infer import Refiner
from vidaff.labels.refine_pixels import canvas_of, canvas_size, view
from vidaff.labels.refine_recipe import refine_recipe_from_dict
from vidaff.labels.refine_samples import RefineSet
from vidaff.labels.refine_train import RefineModule, is_checkpoint, label_loss, start_network, train_refinement
from vidaff.models.image import load_grounder
from vidaff.models.image.losses import refinement_loss
from vidaff.models.image.text_table import SpellingEncoder

SKIN = (205, 150, 120)
SIZES = {"dim": 32, "clip": {"width": 24, "layers": 1, "heads": 3, "patch": 8, "grid": 6}}


def recipe(**train):
    own = {"batch_size": 8, "micro_batch": 8, "lr": 3e-3, "encoder_lr": 1.0, "num_exo": 1, "pairs": "all"}
    model = {**SIZES, "decoder": {"mlp_dim": 48, "depth": 1}}
    data = {"model": model, "input": {"size": [48, 48]}, "train": {**own, **train}}
    return refine_recipe_from_dict(data, where="test")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> LabelledPictures:
    """Masks of objects are what can be seen of them, so that in use the covered half is left out."""
    root = write_toy_tree(tmp_path_factory.mktemp("toy"), train=8, test=1, refined=False)
    labels = LabelFolder(root / "Seen/trainset/labels")
    for side in ("egocentric", "exocentric"):
        for name, ((left, top, right, bottom, _),) in labels.read_boxes(side).items():
            mask = np.zeros((96, 96), bool)
            mask[int(top) : int(bottom), int(left) : int(right)] = True
            mask &= (read_image(root / "Seen/trainset" / side / name) != SKIN).any(axis=2)
            labels.write_mask(f"objects/{side}", Picture(*name.split("/")), mask)
    return LabelledPictures(
        tree_items(Agd20kTree(root, "seen"), ("egocentric", "exocentric")), OwnLabels(labels.folder)
    )


@pytest.fixture(scope="module")
def text():
    encoder = SpellingEncoder(32)
    return {pair: encoder([" ".join(pair)])[0].numpy() for pair in PARTS}


def train(settings, pictures, text, out: Path, **options) -> Path:
    return train_refinement(settings, pictures, text, out, device="cpu", progress=False, **options)


@pytest.mark.parametrize("pair", sorted(PARTS))
def test_the_loss_asks_for_the_half_that_is_covered_in_use(pictures, pair):
    """Free logits, no network: samples, frozen features and loss together, on the picture's own pixels."""
    torch.manual_seed(0)
    settings = recipe().input
    data = RefineSet(pictures, [pair], size=48, mean=settings.mean, std=settings.std, num_exo=2)
    frozen = start_network(None, recipe().model)[0].encoder.eval()
    draw = data.draw(0, np.random.default_rng(0))._replace(top=3, left=3, flip=False)
    sample = data.sample(0, draw)
    with torch.no_grad():
        ego, exo = (frozen(torch.from_numpy(pixels)) for pixels in (sample.region[None], sample.exo))
    logits = torch.zeros(1, 1, 24, 24, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.2)
    rest = {
        "boxes": torch.from_numpy(sample.box[None]),
        "exo_masks": torch.from_numpy(sample.exo_masks),
        "weights": torch.from_numpy(sample.weights),
    }
    for _ in range(60):
        optimiser.zero_grad()
        refinement_loss(logits, ego, exo, **rest).backward()
        optimiser.step()
    heat = torch.nn.functional.interpolate(torch.sigmoid(logits.detach()), size=(48, 48), mode="bilinear")[0, 0].numpy()
    rgb = pictures.read("egocentric", data.items[0])
    halves = [
        view((rgb == colour).all(axis=2).astype(np.float32), canvas_of((96, 96)), canvas_size(48))[3:51, 3:51] > 0.9
        for colour in COLOURS[pair[1]]
    ]
    covered, seen = heat[halves[PARTS[pair]]].mean(), heat[halves[1 - PARTS[pair]]].mean()
    assert covered > seen + 0.2


def test_the_network_finds_the_covered_half_without_any_label_of_it(pictures, text, tmp_path):
    settings = recipe(epochs=40, use_epoch=39, lr=2e-3, schedule="cosine", clip_grad=1.0)
    best, inputs = train(settings, pictures, text, tmp_path), settings.input
    refiner = Refiner(load_grounder(best).model, size=48, mean=inputs.mean, std=inputs.std, device="cpu")
    overlaps = {"initial": [], "raw": []}
    for picture in pictures.egocentric:
        rgb = pictures.read("egocentric", picture)
        truth = (rgb == COLOURS[picture.object][PARTS[picture.pair]]).all(axis=2)
        initial, thing = (pictures.mask(kind, picture, (96, 96)) for kind in ("initial", "objects/egocentric"))
        raw = (refiner.probabilities(rgb, torch.from_numpy(text[picture.pair])) > settings.use.threshold) & thing
        for name, mask in (("initial", initial), ("raw", raw)):
            overlaps[name].append((mask & truth).sum() / (mask | truth).sum())
    assert np.mean(overlaps["initial"]) == pytest.approx(0.5)
    assert np.mean(overlaps["raw"]) > 0.6


def test_a_resumed_training_ends_as_one_that_was_not_stopped(pictures, text, tmp_path, monkeypatch):
    settings = recipe(epochs=3, use_epoch=1)
    whole = train(settings, pictures, text, tmp_path / "whole")
    with monkeypatch.context() as patch:

        def stop(self) -> None:
            if self.current_epoch == 2:
                raise VidaffError("cut off")

        patch.setattr(RefineModule, "on_train_epoch_start", stop)
        with pytest.raises(VidaffError, match="cut off"):
            train(settings, pictures, text, tmp_path / "cut")
    train(settings, pictures, text, tmp_path / "cut", resume=True)
    for part in ("best", "last"):
        file = f"{part}/model.safetensors"
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes(), part
    assert load_grounder(whole).info["epoch"] == 2  # counted from 1: the one that is to be used
    assert load_grounder(tmp_path / "whole/last").info["epoch"] == 3
    with pytest.raises(VidaffError, match="other settings"):
        train(recipe(epochs=3, lr=1e-3), pictures, text, tmp_path / "cut", resume=True)


def test_an_encoder_of_a_checkpoint_starts_and_compares(pictures, text, tmp_path):
    first = train(recipe(epochs=1), pictures, text, tmp_path / "first")
    assert is_checkpoint(first) and not is_checkpoint(tmp_path)
    second = recipe(epochs=1, encoder_weights=str(first), features=str(first), lr=1e-9, label_loss=1.0)
    best = train(second, pictures, text, tmp_path / "second")
    before, after = (load_grounder(folder).model.encoder.state_dict() for folder in (first, best))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": ("ride/horse",)}, "ride/horse"),
        ({"pairs": "split"}, "none of the pairs"),
        ({"batch_size": 64}, "do not fill one batch"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(pictures, text, tmp_path, changes, message):
    with pytest.raises(VidaffError, match=message):
        train(recipe(**changes), pictures, text, tmp_path)


def test_missing_text_features_are_named(pictures, text, tmp_path):
    fewer = {pair: vector for pair, vector in text.items() if pair != ("hold", "fork")}
    with pytest.raises(VidaffError, match="hold fork"):
        train(recipe(), pictures, fewer, tmp_path)
    with pytest.raises(VidaffError, match="7 numbers"):
        train(recipe(), pictures, {pair: vector[:7] for pair, vector in text.items()}, tmp_path)


def test_the_label_loss_weighs_pictures_and_both_sides_of_the_object_alike():
    logits, label, thing = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    logits[0, 0, 0, 0] = 5.0  # within the object, which is that one cell, and no part by the label
    thing[0, 0, :2, :2] = 1
    wrong, undecided = np.log1p(np.exp(5.0)), np.log(2.0)
    assert label_loss(logits, label, thing).item() == pytest.approx((wrong + undecided) / 2, abs=1e-5)
    assert label_loss(logits, label, torch.zeros_like(thing)).item() == 0
