"""Detectors by their settings: boxes with the right query, from models on disk; nothing else is accepted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.labels import tiny_models
from tests.labels.test_vlpart import SMALL, tiny_state
from tests.labels.tiny_models import tiny_text_tower
from tests.models.image_models import save_archive, save_tokenizer
from vidaff.config import validate_settings
from vidaff.errors import VidaffError
from vidaff.labels.detectors import for_picture, load_detector
from vidaff.labels.detectors.boxes import best_boxes
from vidaff.labels.settings import DetectorSettings
from vidaff.labels.types import PartDetector

QUERIES = ["knife blade", "cup_handle", "bottle"]
PICTURE = tiny_models.picture()
EVERYTHING = {"nms": 1.0, "detections": 10_000}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "grounding-dino": tiny_models.save_grounding_dino(root / "dino"),
        "owlv2": tiny_models.save_owl(root / "owlv2"),
        "owlvit": tiny_models.save_owl(root / "owlvit", "OwlViT"),
        "sam3": tiny_models.save_sam3(root / "sam3"),
    }


def settings_of(folders, name, **changes):
    kind = "owlv2" if name == "owlvit" else name
    if kind == "sam3":
        changes.setdefault("precision", "fp32")
    return DetectorSettings(kind=kind, weights=str(folders[name]), **{**EVERYTHING, **changes})


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: load_detector(settings_of(folders, name), device="cpu") for name in folders}


@pytest.mark.parametrize("name", ["grounding-dino", "owlv2", "owlvit", "sam3"])
def test_boxes_are_sorted_within_the_picture_and_know_their_query(loaded, name):
    detector = loaded[name]
    assert isinstance(detector, PartDetector)
    found = detector.detect(PICTURE, QUERIES)
    assert len(found.boxes) > 3
    assert [values.dtype for values in found] == [np.float32, np.float32, np.int64]
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= [90, 60]).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert set(found.query_index) == {0, 1, 2}


@pytest.mark.parametrize("name", ["grounding-dino", "owlv2", "owlvit", "sam3"])
def test_the_order_of_the_queries_only_changes_their_numbers(loaded, name):
    """A phrase's answer must not go to its neighbour."""
    order = [2, 0, 1]
    forward = loaded[name].detect(PICTURE, QUERIES)
    turned = loaded[name].detect(PICTURE, [QUERIES[number] for number in order])
    for number, query in enumerate(order):
        a, b = forward.query_index == query, turned.query_index == number
        assert a.sum() == b.sum() > 0
        np.testing.assert_allclose(np.sort(forward.scores[a]), np.sort(turned.scores[b]), atol=1e-5)
    scores = [np.sort(forward.scores[forward.query_index == query]) for query in range(3)]
    assert not np.allclose(scores[0][:4], scores[1][:4], atol=1e-6)


@pytest.mark.parametrize("name", ["grounding-dino", "owlv2", "owlvit", "sam3"])
def test_small_and_thin_pictures_work_and_other_arrays_do_not(loaded, name):
    for shape in ((1, 1), (3, 80), (64, 64)):
        loaded[name].detect(tiny_models.picture(*shape), QUERIES[:1])
    with pytest.raises(ValueError, match="uint8"):
        loaded[name].detect(np.zeros((4, 4), np.uint8), QUERIES)
    with pytest.raises(ValueError, match="no query"):
        loaded[name].detect(PICTURE, [])
    with pytest.raises(ValueError, match="word"):
        loaded[name].detect(PICTURE, ["knife", "..."])


@pytest.mark.parametrize("name", ["grounding-dino", "owlv2", "sam3"])
def test_the_same_folder_gives_the_same_and_settings_count(folders, loaded, name):
    again = load_detector(settings_of(folders, name), device="cpu")
    np.testing.assert_array_equal(again.detect(PICTURE, QUERIES).boxes, loaded[name].detect(PICTURE, QUERIES).boxes)
    assert again.fingerprint() == loaded[name].fingerprint()
    few = load_detector(settings_of(folders, name, detections=4, nms=0.5), device="cpu")
    assert len(few.detect(PICTURE, QUERIES).boxes) <= 4
    assert few.fingerprint() != again.fingerprint()


@pytest.mark.parametrize(("kind", "folder"), [("grounding-dino", "owlv2"), ("owlv2", "sam3"), ("sam3", "owlv2")])
def test_a_folder_of_another_model_is_refused(folders, kind, folder):
    with pytest.raises(VidaffError, match="is of the kind"):
        load_detector(DetectorSettings(kind=kind, weights=str(folders[folder])), device="cpu")


@pytest.mark.parametrize("kind", ["vlpart", "grounding-dino", "owlv2", "sam3", "file"])
def test_weights_must_be_named_and_be_there(kind, tmp_path):
    with pytest.raises(VidaffError, match="named"):
        load_detector(DetectorSettings(kind=kind))
    with pytest.raises(VidaffError, match="nothing"):
        load_detector(DetectorSettings(kind=kind, weights=str(tmp_path / "nothing")))


def test_grounding_dino_reads_the_caption_as_its_processor_writes_it(folders, loaded):
    from transformers import GroundingDinoProcessor

    tokenizer = GroundingDinoProcessor.from_pretrained(folders["grounding-dino"]).tokenizer
    [(ids, spans)] = loaded["grounding-dino"].captions(QUERIES)
    caption = "knife blade. cup handle. bottle."
    assert ids == tokenizer(caption)["input_ids"]
    assert [tokenizer.decode(ids[span]) for span in spans] == ["knife blade", "cup handle", "bottle"]


def test_grounding_dino_scores_are_those_of_the_querys_tokens(folders, loaded):
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    folder = folders["grounding-dino"]
    processor = GroundingDinoProcessor.from_pretrained(folder)
    inputs = processor(images=PICTURE, text=[["knife blade", "cup handle", "bottle"]], return_tensors="pt")
    with torch.inference_mode():
        logits = GroundingDinoForObjectDetection.from_pretrained(folder)(**inputs).logits[0].sigmoid()
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    found = loaded["grounding-dino"].detect(PICTURE, QUERIES)
    for number, first in enumerate(("knife", "cup", "bottle")):
        columns = list(range(tokens.index(first), tokens.index(".", tokens.index(first))))
        expected = logits[:, columns].amax(1).sort(descending=True).values.numpy()
        ours = found.scores[found.query_index == number]
        assert len(ours) > 0
        # Boxes that lie outside of the picture are gone.
        assert all(np.abs(expected - score).min() < 1e-6 for score in ours)


def test_grounding_dino_splits_what_is_too_long_for_one_caption(loaded):
    detector = loaded["grounding-dino"]
    many = [f"{a} {b} handle" for a in ("knife", "cup") for b in ("cup", "bottle", "photo", "knife")]
    captions = list(detector.captions(many))
    assert len(captions) == 2
    assert all(len(ids) <= 24 for ids, _ in captions)
    assert sum(len(spans) for _, spans in captions) == len(many)
    assert set(detector.detect(PICTURE, many).query_index) == set(range(8))
    with pytest.raises(ValueError, match="tokens"):
        detector.detect(PICTURE, ["knife " * 22])


@pytest.mark.parametrize("name", ["owlv2", "owlvit"])
def test_owl_boxes_are_those_of_its_processor(folders, loaded, name):
    import transformers

    kind = "Owlv2" if name == "owlv2" else "OwlViT"
    processor = getattr(transformers, f"{kind}Processor").from_pretrained(folders[name])
    model = getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(folders[name])
    texts = [f"a photo of a {query.replace('_', ' ')}" for query in QUERIES]
    inputs = processor(text=[texts], images=PICTURE, return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    [theirs] = processor.image_processor.post_process_object_detection(output, 0.0, target_sizes=[PICTURE.shape[:2]])
    boxes = theirs["boxes"].numpy().clip(0, [90, 60, 90, 60])
    ours = loaded[name].detect(PICTURE, QUERIES)
    checked = 0
    for box, score, label in zip(boxes, theirs["scores"].numpy(), theirs["labels"].numpy(), strict=True):
        if (box[2:] > box[:2]).all():
            same = (np.abs(ours.boxes - box).max(1) < 1e-3) & (ours.query_index == label)
            assert np.abs(ours.scores[same] - score).min() < 1e-5
            checked += 1
    assert checked > 3


def test_sam3_answers_as_its_processor(folders, loaded):
    from transformers import Sam3ImageProcessor, Sam3Model

    image = tiny_models.picture(112, 112)
    pictures = Sam3ImageProcessor(size={"height": 112, "width": 112})
    tokens = tiny_models.clip_tokenizer()(["bottle"], padding="max_length", max_length=32, return_tensors="pt")
    with torch.inference_mode():
        output = Sam3Model.from_pretrained(folders["sam3"])(**pictures(images=image, return_tensors="pt"), **tokens)
    [theirs] = pictures.post_process_instance_segmentation(output, threshold=0.0, target_sizes=[(112, 112)])
    found, masks = loaded["sam3"].segment_text(image, ["bottle"])
    order = theirs["scores"].argsort(descending=True)
    np.testing.assert_allclose(found.scores, theirs["scores"][order], atol=1e-5)
    np.testing.assert_allclose(found.boxes, theirs["boxes"][order].clamp(0, 112), atol=1e-3)
    assert (masks == theirs["masks"][order].numpy()).mean() > 0.9999


def test_sam3_in_bf16_is_close_and_said(folders, loaded):
    rounded = load_detector(settings_of(folders, "sam3", precision="bf16"), device="cpu")
    found, exact = (detector.detect(PICTURE, ["bottle"]) for detector in (rounded, loaded["sam3"]))
    np.testing.assert_allclose(found.scores, exact.scores, atol=0.01)
    assert rounded.fingerprint() != loaded["sam3"].fingerprint()


def test_sam3_segments_what_it_detected_and_encodes_a_picture_once(loaded, monkeypatch):
    detector, calls = loaded["sam3"], []
    encode = detector.model.get_vision_features
    monkeypatch.setattr(detector.model, "get_vision_features", lambda pixels: calls.append(1) or encode(pixels))
    image = tiny_models.picture(seed=5)
    parts, masks = detector.segment_text(image, QUERIES[:2])
    thing = detector.detect(image, ["knife"])
    np.testing.assert_array_equal(detector.segment(image.copy(), parts.boxes[[3, 1]]), masks[[3, 1]])
    assert detector.segment(image, thing.boxes[:2]).shape == (2, 60, 90)
    assert detector.segment(image, np.zeros((0, 4))).shape == (0, 60, 90)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="only boxes that it detected"):
        detector.segment(image, parts.boxes[:1] + 3)
    with pytest.raises(ValueError, match="last picture"):
        detector.segment(PICTURE, parts.boxes[:1])


def vlpart_settings(tmp_path, state, **changes):
    torch.save({"model": state}, tmp_path / "vlpart.pth")
    options = {**{name: value for name, value in SMALL.items() if name != "detections"}, **changes.pop("options", {})}
    return DetectorSettings(
        weights=str(tmp_path / "vlpart.pth"), precision="fp32", detections=10,
        options={"anchor_sizes": (8.0, 16.0, 32.0), **options}, **changes,
    )  # fmt: skip


def test_vlpart_with_class_vectors(tmp_path):
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32))
    (tmp_path / "names.txt").write_text("knife blade\ncup handle\nbottle\n")
    vectors = {"text": str(tmp_path / "vectors.npy"), "names": str(tmp_path / "names.txt")}
    settings = vlpart_settings(tmp_path, tiny_state(), **vectors)
    detector = load_detector(settings, device="cpu")
    assert 0 < len(detector.detect(PICTURE, QUERIES).boxes) <= 10
    with pytest.raises(VidaffError, match="'spoon'"):
        detector.detect(PICTURE, ["spoon"])
    np.save(tmp_path / "vectors.npy", np.ones((3, 12), np.float32))
    assert load_detector(settings, device="cpu").fingerprint() != detector.fingerprint()


def test_vlpart_with_a_clip_archive(tmp_path):
    save_archive(tmp_path / "RN50.pt")
    tokenizer = str(save_tokenizer(tmp_path / "tokenizer"))
    tower = {"text": str(tmp_path / "RN50.pt"), "tokenizer": tokenizer, "options": {"text_heads": 3}}
    found = load_detector(vlpart_settings(tmp_path, tiny_state(text_dim=32), **tower), device="cpu").detect(
        PICTURE, QUERIES
    )
    assert len(found.boxes)
    with pytest.raises(VidaffError, match="length 32"):
        load_detector(vlpart_settings(tmp_path, tiny_state(), **tower), device="cpu").detect(PICTURE, QUERIES)


def test_vlpart_with_the_checkpoints_own_tower(tmp_path):
    state = {**tiny_state(), **tiny_text_tower()}
    tokenizer = str(save_tokenizer(tmp_path / "tokenizer"))
    options = {"text_heads": 2}
    detector = load_detector(vlpart_settings(tmp_path, state, tokenizer=tokenizer, options=options), device="cpu")
    assert len(detector.detect(PICTURE, QUERIES).boxes)
    with pytest.raises(VidaffError, match="tokenizer"):
        load_detector(vlpart_settings(tmp_path, state, options=options), device="cpu")
    with pytest.raises(VidaffError, match="no text tower"):
        load_detector(vlpart_settings(tmp_path, tiny_state(), tokenizer=tokenizer), device="cpu")


def test_unknown_options_of_vlpart_are_refused(tmp_path):
    with pytest.raises(VidaffError, match="short: unknown key"):
        load_detector(vlpart_settings(tmp_path, tiny_state(), options={"short": 3}), device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "owlv2", "text": "checkpoint"}, "text means nothing to owlv2"),
        ({"kind": "vlpart", "template": "a {}"}, "template means nothing"),
        ({"kind": "file", "score": 0.5}, "score means nothing to file"),
        ({"kind": "owlv2", "template": "a photo"}, "once"),
        ({"text": "vectors.npy"}, "go together"),
        ({"names": "names.txt"}, "go together"),
        ({"kind": "detectron"}, "kind"),
        ({"colour": 1}, "unknown key"),
    ],
)
def test_settings_refuse_what_they_cannot_use(changes, message):
    with pytest.raises(VidaffError, match=message):
        validate_settings(DetectorSettings, changes, where="settings")


def test_settings_survive_being_spelled_out():
    settings = DetectorSettings(kind="file", weights="boxes.json")
    assert DetectorSettings(**settings.model_dump()) == settings
    with pytest.raises(ValidationError):
        settings.kind = "owlv2"


def test_a_device_that_is_not_there(folders):
    settings = DetectorSettings(kind="owlv2", weights=str(folders["owlv2"]))
    with pytest.raises(VidaffError, match="no such device"):
        load_detector(settings, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(VidaffError, match="no usable GPU"):
            load_detector(settings, device="cuda")


def test_lesser_boxes_of_a_query_go_but_not_those_of_another():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 500, 30], [5, 5, 5, 9]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.5, 0.0], [0.99, 0.99]])
    found, rows = best_boxes(boxes, scores, (40, 60), DetectorSettings(nms=0.5))
    np.testing.assert_array_equal(rows, [0, 2, 1])
    np.testing.assert_array_equal(found.query_index, [0, 0, 1])
    np.testing.assert_array_equal(found.boxes[1], [20, 20, 60, 30])


def test_only_tools_of_files_need_the_pictures_name(loaded):
    assert for_picture(loaded["owlv2"], "a/b/c.jpg") is loaded["owlv2"]
