"""Segmenters: masks as the published code gives them, one embedding a picture, safe files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.labels import tiny_models
from vidaff.errors import VidaffError
from vidaff.labels.detectors import for_picture, load_detector
from vidaff.labels.segmenters import load_proposer, load_segmenter
from vidaff.labels.segmenters import prompted as prompted_module
from vidaff.labels.settings import DetectorSettings, SegmenterSettings
from vidaff.labels.types import BoxSegmenter, RegionProposer

PICTURE = tiny_models.picture()
BOXES = np.array([[3.5, 4, 50, 40], [10, 10, 80, 59], [0, 0, 90, 60]])
EVERYTHING = {"quality": 0.0, "stability": 0.0, "nms": 0.9}
KINDS = ["sam", "sam-hf", "sam2", "sam3"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny_models.save_sam(root / "sam.pth")
    return {
        "sam": root / "sam.pth",
        "sam-hf": tiny_models.save_sam_hf(root / "sam-hf"),
        "sam2": tiny_models.save_sam2(root / "sam2"),
        "sam3": tiny_models.save_sam3(root / "sam3"),
    }


def settings_of(weights, kind, **changes):
    if kind != "sam3":
        changes.setdefault("regions", EVERYTHING)
    return SegmenterSettings(kind=kind, weights=str(weights[kind]), **changes)


@pytest.fixture(scope="module")
def loaded(weights):
    return {kind: load_segmenter(settings_of(weights, kind), device="cpu") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_one_mask_a_box_of_the_pictures_size(loaded, kind):
    segmenter = loaded[kind]
    assert isinstance(segmenter, BoxSegmenter)
    masks = segmenter.segment(PICTURE, BOXES)
    assert masks.shape == (3, 60, 90)
    assert masks.dtype == bool
    assert 0 < masks.mean() < 1
    assert not np.array_equal(masks[0], masks[1])
    assert segmenter.segment(PICTURE, np.zeros((0, 4), np.float32)).shape == (0, 60, 90)
    for shape in ((1, 1), (2, 400), (128, 128)):
        assert segmenter.segment(tiny_models.picture(*shape), BOXES[:1]).shape == (1, *shape)


@pytest.mark.parametrize("kind", KINDS)
def test_other_arrays_are_refused(loaded, kind):
    with pytest.raises(ValueError, match="uint8"):
        loaded[kind].segment(PICTURE / 255, BOXES)
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        loaded[kind].segment(PICTURE, BOXES[:, :3])
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        loaded[kind].segment(PICTURE, BOXES * np.nan)


@pytest.mark.parametrize("kind", ["sam", "sam-hf", "sam2"])
def test_proposes_regions_without_small_pieces(weights, loaded, kind):
    proposer = loaded[kind]
    assert isinstance(proposer, RegionProposer)
    regions = proposer.generate(PICTURE)
    assert regions.shape[1:] == (60, 90)
    assert regions.dtype == bool
    assert len(regions) > 0
    settings = settings_of(weights, kind, regions={**EVERYTHING, "quality": 1.0})
    assert load_proposer(settings, device="cpu").generate(PICTURE).shape == (0, 60, 90)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_embedded_once_for_boxes_and_regions(loaded, kind, monkeypatch):
    sam, calls = loaded[kind], []
    embed = sam.network.embed
    monkeypatch.setattr(sam.network, "embed", lambda pixels: calls.append(1) or embed(pixels))
    image = tiny_models.picture(seed=3)
    first = sam.segment(image, BOXES)
    if kind != "sam3":
        sam.generate(image.copy())
    np.testing.assert_array_equal(sam.segment(image, BOXES[1:]), first[1:])
    assert len(calls) == 1
    image[:30] = 0  # the same array, another picture
    assert not np.array_equal(sam.segment(image, BOXES), first)
    assert len(calls) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_batches_change_nothing(weights, loaded, kind, monkeypatch):
    boxes = np.concatenate([BOXES, BOXES / 2, BOXES[:1] + 3])
    together = loaded[kind].segment(PICTURE, boxes)
    single = load_segmenter(settings_of(weights, kind, batch=1), device="cpu")
    assert (single.segment(PICTURE, boxes) == together).mean() > 0.9999
    assert single.fingerprint() == loaded[kind].fingerprint()
    # A picture so large that a batch of its masks would not fit.
    monkeypatch.setattr(prompted_module, "MAX_VALUES", 60 * 90 * 2)
    assert (loaded[kind].segment(PICTURE, boxes) == together).mean() > 0.9999


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_close_and_said(weights, loaded, kind):
    rounded = load_segmenter(settings_of(weights, kind, precision="bf16"), device="cpu")
    assert (rounded.segment(PICTURE, BOXES) == loaded[kind].segment(PICTURE, BOXES)).mean() > 0.95
    assert rounded.fingerprint() != loaded[kind].fingerprint()
    assert rounded.fingerprint().endswith("bf16")


@pytest.mark.parametrize("shape", [(60, 90), (150, 100), (128, 128)])
def test_sam_equals_the_packages_own_predictor_and_generator(loaded, shape):
    from segment_anything import SamAutomaticMaskGenerator, SamPredictor

    net, image = tiny_models.tiny_sam(), tiny_models.picture(*shape)
    predictor = SamPredictor(net)
    predictor.set_image(image)
    boxes = predictor.transform.apply_boxes_torch(torch.from_numpy(BOXES), shape)
    theirs, _, _ = predictor.predict_torch(None, None, boxes=boxes, multimask_output=False)
    np.testing.assert_array_equal(loaded["sam"].segment(image, BOXES), theirs[:, 0].numpy())
    generator = SamAutomaticMaskGenerator(
        net, points_per_side=8, points_per_batch=16, pred_iou_thresh=0.0, stability_score_thresh=0.0,
        box_nms_thresh=0.9, min_mask_region_area=100,
    )  # fmt: skip
    expected = [record["segmentation"] for record in generator.generate(image)]
    np.testing.assert_array_equal(loaded["sam"].generate(image), expected)


def test_sam_of_transformers_equals_its_processor(weights, loaded):
    from transformers import SamModel, SamProcessor

    processor, model = SamProcessor.from_pretrained(weights["sam-hf"]), SamModel.from_pretrained(weights["sam-hf"])
    image = tiny_models.picture(64, 40)
    inputs = processor(images=image, input_boxes=[BOXES.clip(0, 40).tolist()], return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs, multimask_output=False)
    [theirs] = processor.image_processor.post_process_masks(
        output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    assert (loaded["sam-hf"].segment(image, BOXES.clip(0, 40)) == theirs[:, 0].numpy()).mean() > 0.9999


@pytest.mark.parametrize(("kind", "side", "name"), [("sam2", 64, "Sam2"), ("sam3", 112, "Sam3Tracker")])
def test_sam2_and_the_tracker_of_sam3_equal_their_models(weights, loaded, kind, side, name):
    import transformers

    model = getattr(transformers, f"{name}Model").from_pretrained(weights[kind])
    image = tiny_models.picture(side, side)
    mean, std = (0.5, 0.5) if kind == "sam3" else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pixels = torch.from_numpy((image / 255 - mean) / std).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        output = model(pixels, input_boxes=torch.from_numpy(BOXES).float()[None], multimask_output=False)
        theirs = torch.nn.functional.interpolate(output.pred_masks[0], (side, side), mode="bilinear") > 0
    assert (loaded[kind].segment(image, BOXES) == theirs[:, 0].numpy()).mean() > 0.9999


def test_a_sam3_detector_is_its_own_segmenter(weights):
    detector = load_detector(DetectorSettings(kind="sam3", weights=str(weights["sam3"])), device="cpu")
    settings = settings_of(weights, "sam3")
    assert load_segmenter(settings, device="cpu", detector=detector) is detector
    found = detector.detect(PICTURE, ["bottle"])
    assert load_segmenter(settings, device="cpu", detector=detector).segment(PICTURE, found.boxes).shape[0] == len(
        found.boxes
    )
    with pytest.raises(VidaffError, match="no unnamed regions"):
        load_proposer(settings)


def test_a_proposer_is_the_segmenter_of_the_same_settings(weights, loaded):
    assert load_proposer(settings_of(weights, "sam"), segmenter=loaded["sam"]) is loaded["sam"]
    others = settings_of(weights, "sam", regions={"points_per_side": 2})
    assert load_proposer(others, device="cpu", segmenter=loaded["sam"]) is not loaded["sam"]


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_sams_checkpoint_is_read_safely_and_strictly(tmp_path, weights):
    def load(content):
        torch.save(content, tmp_path / "file.pth")
        return load_segmenter(SegmenterSettings(weights=str(tmp_path / "file.pth")), device="cpu")

    state = torch.load(weights["sam"], weights_only=True)
    with pytest.raises(VidaffError, match="refused"):
        load({"image_encoder.pos_embed": Bomb()})
    with pytest.raises(VidaffError, match="not a checkpoint of SAM"):
        load([1, 2])
    with pytest.raises(VidaffError, match=r"not a checkpoint of SAM \(image_encoder\.pos_embed is missing"):
        load({"weight": torch.zeros(3)})
    with pytest.raises(VidaffError, match=r"mask_decoder\.iou_token\.weight is missing"):
        load({name: tensor for name, tensor in state.items() if name != "mask_decoder.iou_token.weight"})
    with pytest.raises(VidaffError, match="unknown"):
        load({**state, "more": torch.zeros(1)})
    with pytest.raises(VidaffError, match="not finite"):
        load({**state, "image_encoder.pos_embed": state["image_encoder.pos_embed"] * np.nan})
    (tmp_path / "file.pth").write_bytes(weights["sam"].read_bytes()[:2000])
    with pytest.raises(VidaffError, match=r"file\.pth"):
        load_segmenter(SegmenterSettings(weights=str(tmp_path / "file.pth")))


@pytest.mark.parametrize(("width", "depth", "heads", "everywhere"), [
    (1280, 32, 16, (7, 15, 23, 31)), (1024, 24, 16, (5, 11, 17, 23)), (768, 12, 12, (2, 5, 8, 11)),
])  # fmt: skip
def test_the_three_published_sizes_are_recognised(width, depth, heads, everywhere):
    from segment_anything import sam_model_registry

    from vidaff.labels.segmenters.checkpoint import _build

    name = {1280: "vit_h", 1024: "vit_l", 768: "vit_b"}[width]
    with torch.device("meta"):
        theirs = sam_model_registry[name]()
        ours = _build(theirs.state_dict())
    shapes = [{n: tuple(t.shape) for n, t in net.state_dict().items()} for net in (theirs, ours)]
    assert shapes[0] == shapes[1]
    blocks = ours.image_encoder.blocks
    assert ours.image_encoder.img_size == 1024
    assert len(blocks) == depth
    assert {block.attn.num_heads for block in blocks} == {heads}
    assert [number for number, block in enumerate(blocks) if block.window_size == 0] == list(everywhere)
    assert {block.window_size for block in blocks} == {0, 14}


@pytest.mark.parametrize(("kind", "folder"), [("sam-hf", "sam2"), ("sam2", "sam-hf"), ("sam3", "sam2")])
def test_a_folder_of_another_model_is_refused(weights, kind, folder):
    with pytest.raises(VidaffError, match="is of the kind"):
        load_segmenter(SegmenterSettings(kind=kind, weights=str(weights[folder])), device="cpu")


@pytest.mark.parametrize("kind", [*KINDS, "file"])
def test_weights_must_be_named_and_be_there(kind, tmp_path):
    with pytest.raises(VidaffError, match="named"):
        load_segmenter(SegmenterSettings(kind=kind))
    with pytest.raises(VidaffError, match="nothing"):
        load_segmenter(SegmenterSettings(kind=kind, weights=str(tmp_path / "nothing")))


def test_settings_refuse_what_they_cannot_use():
    with pytest.raises(ValueError, match="regions means nothing to sam3"):
        SegmenterSettings(kind="sam3", regions={"points_per_side": 2})
    with pytest.raises(ValueError, match="precision means nothing to file"):
        SegmenterSettings(kind="file", precision="bf16")


def test_only_tools_of_files_need_the_pictures_name(loaded):
    assert for_picture(loaded["sam"], "a/b/c.jpg", "egocentric") is loaded["sam"]
