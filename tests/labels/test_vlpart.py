"""VLPart: equal to the authors' network, and clear about what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.image_models import save_tokenizer, tiny_vocabulary
from vidaff.errors import VidaffError
from vidaff.labels.detectors.vlpart import VLPart, VLPartNet, VLPartSettings
from vidaff.labels.detectors.vlpart.cascade import NameScores
from vidaff.labels.detectors.vlpart.detector import resize, resized_shape
from vidaff.labels.detectors.vlpart.texts import VectorTexts, classifier, prompt
from vidaff.labels.types import PartDetector
from vidaff.models.image.clip_weights import text_tower

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "vlpart" / "keys.json").read_text())
SMALL = {"short_side": 64, "long_side": 96, "pre_nms": 50, "post_nms": 20, "detections": 10}


def tiny_settings(**changes) -> VLPartSettings:
    sizes = {
        "embed": 8, "depths": (1, 2), "heads": (1, 2), "window": 3, "pyramid": 6, "hidden": 10, "text_dim": 12,
        "stages": 3, "anchor_sizes": (8.0, 16.0, 32.0),
    }  # fmt: skip
    return VLPartSettings(**{**sizes, **SMALL, **changes})


def tiny_state(seed=0, **changes):
    torch.manual_seed(seed)
    net = VLPartNet(tiny_settings(**changes))
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.3 * torch.randn_like(weight) + (weight.ndim == 1))
    return net.state_dict()


NAMES = ["knife handle", "knife blade", "cup"]


def texts(dim=12):
    return VectorTexts(NAMES, np.random.default_rng(0).normal(size=(3, dim)).astype(np.float32))


def tiny_detector(**options):
    config = {**SMALL, "anchor_sizes": (8.0, 16.0, 32.0)}
    options = {"config": config, "texts": texts(), "precision": "fp32", **options}
    return VLPart.from_checkpoint(tiny_state(), **options)


def picture(height=50, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def golden(shared_dir):
    return np.load(shared_dir / "golden" / "vlpart" / "golden.npz", allow_pickle=False)


@pytest.fixture(scope="module")
def golden_state(golden):
    prefix = "weights/"
    return {n.removeprefix(prefix): torch.from_numpy(golden[n]) for n in golden.files if n.startswith(prefix)}


@pytest.fixture(scope="module")
def golden_detector(golden_state):
    config = {"short_side": 200, "long_side": 320, "text_heads": 2}
    return VLPart.from_checkpoint(golden_state, config=config, precision="fp32")


@pytest.mark.real
def test_maps_equal_the_authors(golden, golden_detector):
    net = golden_detector.net
    image = torch.from_numpy(golden["resized"]).permute(2, 0, 1)
    with torch.inference_mode():
        padded = net.batch([image])
        for number, found in enumerate(net.backbone.bottom_up(padded)):
            np.testing.assert_allclose(found.numpy(), golden[f"swin/swin{number}"], atol=1e-5)
        for number, found in enumerate(net.backbone(padded)):
            np.testing.assert_allclose(found.numpy(), golden[f"fpn/p{number + 2}"], atol=2e-5)


@pytest.mark.real
def test_proposals_equal_the_authors_as_a_set(golden, golden_detector):
    net = golden_detector.net
    image = torch.from_numpy(golden["resized"]).permute(2, 0, 1)
    with torch.inference_mode():
        levels = net.backbone(net.batch([image]))
        found = net.proposal_generator(levels, [4, 8, 16, 32, 64], [image.shape[1:]])[0].numpy()
    distance = np.abs(found[:, None] - golden["rpn/boxes"][None]).max(2)
    assert len(found) == len(golden["rpn/boxes"])
    assert distance.min(1).max() < 1e-3
    assert distance.min(0).max() < 1e-3


@pytest.mark.real
def test_detections_equal_the_authors(golden, golden_detector, monkeypatch):
    # The reference drops the column of the background, which it computes beside those of the three names.
    columns = torch.from_numpy(golden["text_embed"])[:, :3].contiguous()
    monkeypatch.setattr(golden_detector, "text_features", lambda names: columns)
    found = golden_detector.detect(golden["image"], str(golden["prompt"]).split("."))
    np.testing.assert_array_equal(found.query_index, golden["out/classes"])
    np.testing.assert_allclose(found.scores, golden["out/scores"], atol=1e-5)
    np.testing.assert_allclose(found.boxes, golden["out/boxes"], atol=1e-3)


@pytest.mark.real
def test_bf16_scores_are_near_the_authors_and_distinct(golden, golden_state, monkeypatch):
    config = {"short_side": 200, "long_side": 320, "text_heads": 2}
    detector = VLPart.from_checkpoint(golden_state, config=config, precision="bf16")
    columns = torch.from_numpy(golden["text_embed"])[:, :3].contiguous()
    monkeypatch.setattr(detector, "text_features", lambda names: columns)
    found = detector.detect(golden["image"], str(golden["prompt"]).split("."))
    np.testing.assert_allclose(found.scores, golden["out/scores"], atol=0.01)
    assert len(np.unique(found.scores)) == len(found.scores) == 100


@pytest.mark.real
def test_text_features_equal_the_authors(golden, golden_state):
    prefix = "text_encoder."
    state = {n.removeprefix(prefix): t for n, t in golden_state.items() if n.startswith(prefix)}
    tower = text_tower(state, "golden", 2).eval()
    with torch.inference_mode():
        features = tower(input_ids=torch.from_numpy(golden["tokens"])).text_embeds
    np.testing.assert_allclose(classifier(features).numpy(), golden["text_embed"], atol=1e-6)


@pytest.mark.real
def test_resizing_equals_the_authors(golden):
    settings = VLPartSettings(short_side=200, long_side=320)
    np.testing.assert_array_equal(resize(golden["image"], settings), golden["resized"])
    for name in golden.files:
        if name.startswith("resize_rule_"):
            height, width, *expected = golden[name].tolist()
            assert list(resized_shape(height, width, 800, 1333)) == expected


def test_the_full_network_has_the_authors_keys():
    own = {n: tuple(s) for n, s in KEYS.items() if not n.startswith("text_encoder.")}
    settings = VLPartSettings.from_shapes(own)
    assert settings == VLPartSettings()
    with torch.device("meta"):
        net = VLPartNet(settings)
    ours = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert ours == {n: s for n, s in own.items() if not n.endswith("relative_position_index")}


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_resized_pictures_stay_within_the_limits(height, width):
    new = resized_shape(height, width, 800, 1333)
    assert min(new) >= 1
    assert max(new) <= 1333
    assert min(new) <= 800
    if max(new) < 1333 and min(height, width) > 1:
        assert min(new) == 800


def test_is_a_part_detector_that_gives_sorted_boxes_inside_the_picture():
    detector = tiny_detector()
    assert isinstance(detector, PartDetector)
    found = detector.detect(picture(), NAMES)
    assert 0 < len(found.boxes) <= SMALL["detections"]
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= [70, 50]).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert set(found.query_index) <= {0, 1, 2}


def test_pictures_of_any_sizes_at_once_give_what_each_gives_alone():
    detector = tiny_detector()
    sizes = [(50, 70), (120, 60), (50, 70), (48, 70), (60, 120), (50, 71)]
    images = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    asked = [NAMES, NAMES[:1], NAMES[1:], NAMES, NAMES[:2], NAMES]
    together = detector.detect_many(images, asked)
    assert len({len(found.scores) and round(float(found.scores[0]), 5) for found in together}) > 3
    for a, image, names in zip(together, images, asked, strict=True):
        b = detector.detect(image, names)
        np.testing.assert_array_equal(a.query_index, b.query_index)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_names_are_compared_in_float32_under_autocast():
    torch.manual_seed(0)
    head, x, columns = NameScores(10, 12, 50.0).bfloat16(), torch.randn(200, 10).bfloat16(), classifier(texts()(NAMES))
    with torch.inference_mode():
        expected = 50 * torch.nn.functional.normalize(head.linear(x).float(), dim=1) @ columns
        with torch.autocast("cpu", torch.bfloat16):
            found = head(x, columns)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_more_threads_change_nothing():
    detector, before = tiny_detector(config={**SMALL, "anchor_sizes": (8.0, 16.0, 32.0)}), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(detector.detect(picture(), NAMES))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0].query_index, results[1].query_index)
    # Attention sums in another order on other numbers of threads; three stages of boxes carry that on. As far as the
    # golden's: 1e-3 px.
    np.testing.assert_allclose(results[0].boxes, results[1].boxes, atol=1e-3)
    np.testing.assert_allclose(results[0].scores, results[1].scores, atol=1e-5)


def test_a_small_picture_and_a_thin_one_work():
    detector = tiny_detector()
    for shape in ((1, 1), (3, 200), (64, 64)):
        detector.detect(picture(*shape), NAMES)


def test_takes_the_files_of_the_zoo(tmp_path):
    state = tiny_state()
    extra = {
        "roi_heads.mask_head.predictor.weight": torch.zeros(1),
        "roi_heads.box_predictor.0.cls_score.zs_weight": torch.zeros(12, 4),
        "backbone.bottom_up.layers.0.blocks.0.attn.relative_position_index": torch.full((9, 9), 10**6),
    }
    torch.save({"model": {**state, **extra}}, tmp_path / "zoo.pth")
    config = {**SMALL, "anchor_sizes": (8.0, 16.0, 32.0)}
    loaded = VLPart.from_checkpoint(tmp_path / "zoo.pth", config=config, texts=texts(), precision="fp32")
    plain = tiny_detector()
    np.testing.assert_array_equal(loaded.detect(picture(), NAMES).boxes, plain.detect(picture(), NAMES).boxes)
    assert loaded.fingerprint() != VLPart.from_checkpoint(tiny_state(seed=1), config=config).fingerprint()


def test_other_weights_are_refused_by_name(tmp_path):
    state = tiny_state()
    missing = {n: t for n, t in state.items() if n != "roi_heads.box_head.1.fc2.bias"}
    with pytest.raises(VidaffError, match=r"roi_heads\.box_head\.1\.fc2\.bias is missing"):
        VLPart.from_checkpoint(missing)
    with pytest.raises(VidaffError, match="Swin"):
        VLPart.from_checkpoint({"conv1.weight": torch.zeros(3)})
    with pytest.raises(VidaffError, match="unknown"):
        VLPart.from_checkpoint({**state, "more.weight": torch.zeros(1)})
    for wrong in (float("nan"), float("-inf")):
        with pytest.raises(VidaffError, match=r"box_head\.1\.fc2\.bias holds other things than finite"):
            VLPart.from_checkpoint({**state, "roi_heads.box_head.1.fc2.bias": torch.tensor([*[0.0] * 9, wrong])})
    (tmp_path / "file.pth").write_bytes(b"no checkpoint")
    with pytest.raises(VidaffError, match=r"file\.pth"):
        VLPart.from_checkpoint(tmp_path / "file.pth")


def test_the_text_tower_of_a_checkpoint_is_used(tmp_path):
    torch.manual_seed(0)
    tokenizer = save_tokenizer(tmp_path)
    width = 16
    tower = {
        "token_embedding.weight": torch.randn(len(tiny_vocabulary()), width),
        "positional_embedding": torch.randn(16, width),
        "ln_final.weight": torch.ones(width), "ln_final.bias": torch.zeros(width),
        "text_projection": torch.randn(width, 12),
    }  # fmt: skip
    shapes = {
        "attn.in_proj_weight": (48, 16), "attn.in_proj_bias": (48,), "attn.out_proj.weight": (16, 16),
        "attn.out_proj.bias": (16,), "ln_1.weight": (16,), "ln_1.bias": (16,), "mlp.c_fc.weight": (64, 16),
        "mlp.c_fc.bias": (64,), "mlp.c_proj.weight": (16, 64), "mlp.c_proj.bias": (16,), "ln_2.weight": (16,),
        "ln_2.bias": (16,),
    }  # fmt: skip
    tower |= {f"transformer.resblocks.0.{name}": torch.randn(shape) for name, shape in shapes.items()}
    state = {**tiny_state(), **{f"text_encoder.{name}": tensor for name, tensor in tower.items()}}
    config = {**SMALL, "anchor_sizes": (8.0, 16.0, 32.0), "text_heads": 2}
    detector = VLPart.from_checkpoint(state, config=config, tokenizer=tokenizer, precision="fp32")
    features = detector.text_features(["Knife:Blade", "knife blade", "cup"])
    assert features.shape == (12, 3)
    assert torch.equal(features[:, 0], features[:, 1])
    assert not torch.equal(features[:, 0], features[:, 2])
    loaded = detector.texts.encoder.tower.state_dict()
    table = state["text_encoder.token_embedding.weight"]
    assert table.data_ptr() in {tensor.data_ptr() for tensor in loaded.values()}  # no copy: that would take 250 MB
    with pytest.raises(VidaffError, match="no text tower"):
        VLPart.from_checkpoint(tiny_state(), config=config, tokenizer=tokenizer)
    state["text_encoder.transformer.resblocks.0.mlp.c_fc.weight"] = torch.ones(63, 16)
    with pytest.raises(VidaffError, match=r"not CLIP's text tower .*\(63, 16\) instead of \(64, 16\)"):
        VLPart.from_checkpoint(state, config=config, tokenizer=tokenizer)


def test_without_text_features_it_says_what_is_needed():
    detector = tiny_detector(texts=None)
    with pytest.raises(VidaffError, match="tokenizer"):
        detector.detect(picture(), NAMES)
    with pytest.raises(VidaffError, match="no class vector for 'spoon'"):
        tiny_detector().detect(picture(), ["spoon"])
    with pytest.raises(VidaffError, match="length 5"):
        tiny_detector(texts=texts(5)).detect(picture(), NAMES)
    with pytest.raises(ValueError, match="no query"):
        tiny_detector().detect(picture(), [])
    with pytest.raises(ValueError, match="uint8"):
        tiny_detector().detect(picture().astype(float), NAMES)


def test_class_vectors_are_read_from_files(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(24, dtype=np.float32).reshape(2, 12))
    (tmp_path / "names.txt").write_text("knife:blade\ncup\n")
    table = VectorTexts.from_files(tmp_path / "v.npy", tmp_path / "names.txt")
    assert table(["Cup", "knife blade"])[:, 0].tolist() == [12.0, 0.0]
    (tmp_path / "names.txt").write_text("cup\n")
    with pytest.raises(VidaffError, match="do not go with 1 names"):
        VectorTexts.from_files(tmp_path / "v.npy", tmp_path / "names.txt")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(VidaffError, match=r"o\.npy"):
        VectorTexts.from_files(tmp_path / "o.npy", tmp_path / "names.txt")


@given(st.text(max_size=30))
def test_prompts_are_lower_case_words(name):
    if any(c.isalnum() for c in name.lower().replace(":", " ").replace("_", " ")):
        text = prompt(name)
        assert text.startswith("a ")
        assert ":" not in text
    else:
        with pytest.raises(ValueError, match="word"):
            prompt(name)
