"""AffordanceNet: shapes, losses by hand, and soft masks put back into the picture."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import vgg16

from vidaff.errors import VidaffError
from vidaff.models.baselines import AffordanceNet, build_affordancenet
from vidaff.models.baselines.affordancenet import paste
from vidaff.models.baselines.backbones import load_backbone_weights
from vidaff.models.baselines.roi_heads import DECONVOLUTIONS, AffordanceHead, affordance_loss, crop_allowed

SMALL = {
    "mask_size": 28,
    "mask_channels": 16,
    "box_channels": 32,
    "rois": 8,
    "proposals_train": 20,
    "proposals_test": 10,
}
LOSSES = {"classifier", "box", "affordance", "loss_objectness", "loss_rpn_box_reg"}


def tiny(**changed) -> AffordanceNet:
    torch.manual_seed(0)
    return build_affordancenet(3, 9, **{"input_size": (64, 64), "backbone": "tiny", **SMALL, **changed})


def target(size: int = 64) -> dict[str, torch.Tensor]:
    """One object whose upper half affords class 2; below is background."""
    allowed = torch.full((size, size), 1 << 9)
    allowed[16:32, 8:40] = 1 << 2
    instances = torch.full((size, size), -1)
    instances[16:48, 8:40] = 0
    boxes = torch.tensor([[8.0, 16.0, 40.0, 48.0]])
    return {"boxes": boxes, "labels": torch.tensor([2]), "allowed": allowed, "instances": instances}


@pytest.mark.parametrize("size", DECONVOLUTIONS)
def test_the_head_reaches_its_size(size):
    head = AffordanceHead(8, channels=8, num_affordances=4, mask_size=size)
    assert head(torch.rand(2, 8, 7, 7)).shape == (2, 5, size, size)
    assert head(torch.rand(0, 8, 7, 7)).shape == (0, 5, size, size)


@pytest.mark.parametrize(
    ("backbone", "anchors"), [("tiny", (0.2, 0.8)), ("vgg16", (0.2, 0.8)), ("resnet50", (0.1, 0.2, 0.4, 0.6, 0.8))]
)
def test_every_backbone_gives_losses_and_detections(backbone, anchors):
    model = tiny(backbone=backbone, anchors=anchors)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    losses = model.train()(images, [target(), target()])
    assert set(losses) == LOSSES
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    detections = model.eval()(images)
    for detection in detections:
        count = len(detection["boxes"])
        assert count >= 1
        assert detection["affordances"].shape == (count, 10, 28, 28)
        torch.testing.assert_close(detection["affordances"].sum(1), torch.ones(count, 28, 28))
        assert set(detection["labels"].tolist()) <= {1, 2, 3}


def test_pictures_of_any_size_get_maps_of_their_own():
    probs = tiny().eval().segment([torch.rand(3, 50, 90), torch.rand(3, 64, 64)])
    assert [tuple(part.shape) for part in probs] == [(10, 50, 90), (10, 64, 64)]
    for part in probs:
        torch.testing.assert_close(part.sum(0), torch.ones(part.shape[1:]))


def test_a_picture_without_an_object_trains_the_rest():
    empty = {**target(), "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    empty["instances"] = torch.full((64, 64), -1)
    losses = tiny().train()([torch.rand(3, 64, 64)], [empty])
    assert losses["affordance"] == 0
    assert losses["loss_objectness"] > 0
    sum(losses.values()).backward()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mask_size": 30}, "mask_size"),
        ({"backbone": "alexnet"}, "backbone"),
        ({"backbone": "resnet50", "anchors": (0.5,)}, "five|5"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        tiny(**changed)


def test_the_loss_is_the_cross_entropy_where_one_class_is_right():
    logits, labels = torch.randn(2, 5, 6, 6), torch.randint(0, 5, (2, 6, 6))
    torch.testing.assert_close(affordance_loss(logits, 1 << labels), F.cross_entropy(logits, labels))
    some = (1 << labels) * (torch.arange(6) < 3)
    torch.testing.assert_close(affordance_loss(logits, some), F.cross_entropy(logits[..., :3], labels[..., :3]))
    both = torch.full((2, 6, 6), 0b101)
    expected = -F.softmax(logits, 1)[:, [0, 2]].sum(1).log().mean()
    torch.testing.assert_close(affordance_loss(logits, both), expected)
    nothing = affordance_loss(logits.requires_grad_(), torch.zeros(2, 6, 6, dtype=torch.int64))
    assert nothing == 0 and nothing.requires_grad


def test_labels_are_cropped_by_nearest_pixel_and_foreign_objects_are_background():
    allowed = 1 << torch.arange(4).repeat_interleave(2).expand(8, 8)  # columns 0 0 1 1 2 2 3 3
    instances = torch.zeros(8, 8, dtype=torch.int64)
    instances[4:] = 1
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 4.0, 8.0, 8.0]])
    crops = crop_allowed({"allowed": allowed, "instances": instances}, boxes, torch.tensor([0, 1]), (8, 8), 4, 9)
    upper = torch.tensor([1, 2, 4, 8])
    assert torch.equal(crops[0], torch.stack([upper, upper, *[torch.full((4,), 1 << 9)] * 2]))
    assert torch.equal(crops[1], torch.tensor([4, 4, 8, 8]).expand(4, 4))
    twice = crop_allowed({"allowed": allowed, "instances": instances}, 2 * boxes, torch.tensor([0, 1]), (16, 16), 4, 9)
    assert torch.equal(twice, crops)


def soft(label: int) -> torch.Tensor:
    return F.one_hot(torch.tensor(label), 4).float().view(4, 1, 1).expand(4, 28, 28)


def test_masks_fill_their_boxes_and_the_better_one_has_the_last_word():
    detection = {
        "boxes": torch.tensor([[2.0, 3.0, 8.0, 9.0], [0.0, 0.0, 6.0, 6.0], [0.0, 0.0, 10.0, 10.0]]),
        "scores": torch.tensor([0.5, 0.9, 0.95]),
        "affordances": torch.stack([soft(0), soft(1), soft(3)]),
    }
    labels = paste(detection, (10, 12)).argmax(0)
    expected = torch.full((10, 12), 3)
    expected[3:9, 2:8] = 0
    expected[:6, :6] = 1
    assert torch.equal(labels, expected)


def test_a_box_beyond_the_picture_is_cut_off():
    detection = {
        "boxes": torch.tensor([[-4.0, 5.6, 4.0, 30.0]]), "scores": torch.tensor([1.0]), "affordances": soft(2)[None],
    }  # fmt: skip
    labels = paste(detection, (10, 12)).argmax(0)
    assert (labels == 2).sum() == 4 * 4
    assert (labels[6:, :4] == 2).all()


def test_a_local_torchvision_file_fills_the_backbone_and_keeps_its_first_layers(tmp_path):
    stored = {f"features.{key}": value for key, value in vgg16(weights=None).features.state_dict().items()}
    torch.save(stored, tmp_path / "vgg16.pth")
    model = tiny(backbone="vgg16")
    load_backbone_weights(model.backbone, model.roi_heads.box_head, "vgg16", tmp_path / "vgg16.pth")
    torch.testing.assert_close(model.backbone.state_dict()["28.weight"], stored["features.28.weight"])
    frozen = {name for name, weight in model.backbone.named_parameters() if not weight.requires_grad}
    assert frozen == {f"{layer}.{kind}" for layer in (0, 2, 5, 7) for kind in ("weight", "bias")}


def test_other_files_are_refused_as_backbone_weights(tmp_path):
    model = tiny()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    for name, file, said in (
        ("tiny", "other.pth", "no such weights"),
        ("vgg16", "none.pth", "no such file"),
        ("vgg16", "other.pth", "another network"),
        ("vgg16", "list.pth", "no plain weights"),
    ):
        backbone = tiny(backbone=name).backbone
        with pytest.raises(VidaffError, match=said):
            load_backbone_weights(backbone, model.roi_heads.box_head, name, tmp_path / file)
