"""The friendly grounder: heat maps of the picture's size, known and unknown words, pictures of all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vidaff
from tests.grounders import make_encoder, save_clip, save_tiny_grounder
from tests.models.image_models import tiny_network
from vidaff.datasets.agd20k.pixels import CLIP_MEAN, CLIP_STD, network_input
from vidaff.errors import VidaffError
from vidaff.grounding import AffordanceGrounder, read_rgb
from vidaff.models.image import load_grounder, save_grounder
from vidaff.models.image.bfloat16 import to_bfloat16
from vidaff.models.image.heatmaps import to_heatmaps
from vidaff.models.image.text_table import TextSettings, TextTable, make_text_encoder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    return save_tiny_grounder(tmp_path_factory.mktemp("grounder"), clip)


@pytest.fixture(scope="module")
def grounder(folder: Path) -> AffordanceGrounder:
    return AffordanceGrounder.from_pretrained(folder, device="cpu", precision="fp32")


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_it_is_public_and_lazy() -> None:
    assert vidaff.AffordanceGrounder is AffordanceGrounder


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300))
def test_heat_maps_have_the_pictures_size_and_sum_to_one(grounder: AffordanceGrounder, height: int, width: int) -> None:
    heat = grounder(picture(height, width), "hold")
    assert heat.shape == (height, width) and heat.dtype == np.float32 and heat.min() >= 0
    assert heat.sum(dtype=np.float64) == pytest.approx(1, abs=1e-4)


def test_it_is_the_evaluations_protocol(grounder: AffordanceGrounder, folder: Path) -> None:
    """Whole picture resized and normalised as test pictures are, stored text feature, softmax at the asked size."""
    loaded, (table, _) = load_grounder(folder), TextTable.load(folder)
    pixels = torch.from_numpy(network_input(picture(), (32, 32), CLIP_MEAN, CLIP_STD))[None]
    with torch.inference_mode():
        expected = to_heatmaps(loaded.model(pixels, table.verbs["hold"][None]), (40, 60))[0, 0].numpy()
    np.testing.assert_allclose(grounder(picture(), "hold"), expected, rtol=1e-5)
    assert expected.max() > 1.5 * expected.min()


def test_many_words_are_the_words_one_by_one(grounder: AffordanceGrounder) -> None:
    words = ["hold", "cut_with", "pour", *(f"word {letter}" for letter in "abcdefghijklmnopq")]
    answers = grounder.ground(picture(), words)
    assert [answer.word.text for answer in answers] == [word.replace("_", " ") for word in words]
    for answer in answers[::4]:
        np.testing.assert_allclose(answer.heatmap, grounder(picture(), answer.word.text), rtol=1e-4)
    assert np.abs(answers[0].heatmap - answers[1].heatmap).max() > 1e-7


def test_the_picture_is_looked_at_once(grounder: AffordanceGrounder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = grounder._model.encode
    monkeypatch.setattr(grounder._model, "encode", lambda images: calls.append(1) or encode(images))
    seen = grounder.look(picture())
    first = next(grounder.ask(seen, ["hold"])).heatmap
    assert (next(grounder.ask(seen, ["hold"])).heatmap == first).all()
    grounder.ground(picture(), ["hold", "pour", "grab"])
    assert len(calls) == 2


# -- words -----------------------------------------------------------------------------------------------------------


def test_known_affordances_are_answered_from_the_checkpoint(grounder: AffordanceGrounder) -> None:
    assert grounder.affordances == ("cut_with", "hold")
    word = grounder.words.look_up(["Cut  with"])[0]
    assert (word.origin, word.known, word.nearest, word.similarity) == ("stored", True, "cut_with", 1.0)
    untrained = grounder.words.look_up(["pour"])[0]
    assert untrained.origin == "stored" and not untrained.known and untrained.nearest in grounder.affordances


def test_other_words_get_the_towers_feature_and_the_nearest_affordance(
    grounder: AffordanceGrounder, clip: Path
) -> None:
    encoder = make_encoder(clip)
    features = torch.nn.functional.normalize(encoder(["grab", "cut with", "hold"]), dim=1)
    cosines = features[1:] @ features[0]
    word = grounder.words.look_up(["grab"])[0]
    assert (word.origin, word.known) == ("clip", False)
    assert word.nearest == ("cut_with", "hold")[int(cosines.argmax())]
    assert word.similarity == pytest.approx(float(cosines.max()), abs=1e-5)
    torch.testing.assert_close(word.feature, encoder(["grab"])[0])


@pytest.mark.parametrize("kind", ["files", None])
def test_without_a_tower_other_words_say_what_they_need(tmp_path: Path, clip: Path, kind: str | None) -> None:
    folder = save_tiny_grounder(tmp_path, clip, kind=kind)
    grounder = AffordanceGrounder.from_pretrained(folder, device="cpu")
    if kind is not None:
        assert grounder(picture(), "hold").shape == (40, 60)
    with pytest.raises(VidaffError, match=r"'grab'.*text model"):
        grounder(picture(), "grab")
    with_tower = AffordanceGrounder.from_pretrained(folder, text_model=clip, device="cpu")
    assert with_tower.ground(picture(), ["grab"])[0].word.origin == "clip"


def test_a_converted_checkpoint_of_agd20ks_classes_knows_their_names(tmp_path: Path, clip: Path) -> None:
    folder = save_tiny_grounder(tmp_path, clip, kind=None, num_affordances=36)
    grounder = AffordanceGrounder.from_pretrained(folder, text_model=clip, device="cpu")
    assert len(grounder.affordances) == 36
    known, other = grounder.words.look_up(["pick up", "grab"])
    assert known.known and known.nearest == "pick_up" and known.origin == "clip"
    assert not other.known and other.nearest in grounder.affordances


def test_features_of_spelling_answer_any_word_and_take_no_tower(tmp_path: Path, clip: Path) -> None:
    folder = save_tiny_grounder(tmp_path, clip, kind="spelling")
    word = AffordanceGrounder.from_pretrained(folder, device="cpu").words.look_up(["holding"])[0]
    assert word.origin == "spelling" and word.nearest == "hold"
    with pytest.raises(VidaffError, match="spelling"):
        AffordanceGrounder.from_pretrained(folder, text_model=clip)


def test_a_tower_that_only_the_checkpoint_names_is_not_downloaded(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_grounder(tmp_path, clip, kind="files")
    table, settings_ = TextTable.load(folder)
    table.save(folder, settings_.model_copy(update={"kind": "clip", "source": "nobody/nothing-of-this-name"}))
    monkeypatch.setattr("vidaff.models.image.pretrained.ask_hub", lambda name: pytest.fail("asked the hub"))
    grounder = AffordanceGrounder.from_pretrained(folder, device="cpu")
    assert grounder(picture(), "pour").shape == (40, 60)
    with pytest.raises(VidaffError, match="not downloaded unasked"):
        grounder(picture(), "grab")


def test_a_tower_beside_the_checkpoint_is_found(tmp_path: Path, clip: Path) -> None:
    folder = save_tiny_grounder(tmp_path / "model", clip)
    save_clip(folder / "clip")
    table, settings_ = TextTable.load(folder)
    table.save(folder, settings_.model_copy(update={"source": "clip"}))
    assert AffordanceGrounder.from_pretrained(folder, device="cpu").ground(picture(), ["grab"])[0].word.nearest


def test_another_tower_is_noticed(tmp_path: Path, folder: Path, clip: Path) -> None:
    from tests.models.image_models import save_tokenizer, tiny_clip

    assert AffordanceGrounder.from_pretrained(folder, text_model=clip, device="cpu").words.check_tower() is None
    other = tiny_clip()
    with torch.no_grad():
        other.text_projection.weight.normal_()
    other.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    warning = AffordanceGrounder.from_pretrained(folder, text_model=tmp_path, device="cpu").words.check_tower()
    assert warning is not None and "differ" in warning


@pytest.mark.parametrize("queries", ["hold", [], [""], [" _ "], ["hold", 3], ["..."]], ids=repr)
def test_what_is_no_query_is_refused(grounder: AffordanceGrounder, queries: object) -> None:
    with pytest.raises(ValueError, match="quer"):
        grounder.ground(picture(), queries)  # type: ignore[arg-type]


# -- pictures --------------------------------------------------------------------------------------------------------


def test_paths_arrays_and_pil_pictures_are_the_same(grounder: AffordanceGrounder, tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    expected = grounder(picture(), "hold")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture())):
        assert (grounder(image, "hold") == expected).all()


def test_exif_alpha_grey_cmyk_palette_and_16_bit(tmp_path: Path) -> None:
    plain = picture()
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(plain)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    for image in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        assert (read_rgb(image) == plain).all()
    alpha = Image.fromarray(np.dstack([plain, np.full(plain.shape[:2], 7, np.uint8)]))
    assert (read_rgb(alpha) == plain).all()
    assert (read_rgb(Image.fromarray(plain[..., 0])) == plain[..., :1]).all()
    wide = plain[..., 0].astype(np.uint16) << 8
    assert (read_rgb(Image.fromarray(wide)) == plain[..., :1]).all()
    cmyk = Image.fromarray(plain).convert("CMYK")
    cmyk.save(tmp_path / "cmyk.jpg", quality=95)
    assert read_rgb(tmp_path / "cmyk.jpg").shape == plain.shape
    assert np.abs(read_rgb(cmyk).astype(int) - plain).mean() < 4
    palette = Image.fromarray(plain).quantize(256)
    assert (read_rgb(palette) == np.asarray(palette.convert("RGB"))).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("none.png", "none.png: no such file"),
        (np.zeros((40, 60), np.uint8), "image: a NumPy array"),
        (np.zeros((40, 60, 3), np.float32), "image: a NumPy array"),
        (np.zeros((4, 60, 3), np.uint8), "at least 8x8"),
        (None, "image: a path"),
        (Image.new("RGB", (3, 3)), "at least 8x8"),
    ],
    ids=["missing", "grey array", "floats", "small", "none", "small PIL"],
)
def test_what_is_no_picture_is_refused(grounder: AffordanceGrounder, image: object, said: str) -> None:
    with pytest.raises(VidaffError, match=said):
        grounder(image, "hold")


def test_truncated_pictures_are_refused(grounder: AffordanceGrounder, tmp_path: Path) -> None:
    Image.fromarray(picture(200, 300)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(VidaffError, match="truncated"):
        grounder(tmp_path / "cut.jpg", "hold")
    with pytest.raises(VidaffError, match="image: cannot be decoded"):
        grounder(Image.open(tmp_path / "cut.jpg"), "hold")


# -- checkpoints and precision ---------------------------------------------------------------------------------------


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(VidaffError, match="no such file"):
        AffordanceGrounder.from_pretrained(tmp_path / "none")
    refinement = tiny_network(task="refinement")
    from tests.models.image_models import tiny_settings

    save_grounder(tmp_path / "refinement", refinement, tiny_settings(task="refinement"))
    with pytest.raises(VidaffError, match="refinement network"):
        AffordanceGrounder.from_pretrained(tmp_path / "refinement")
    for size in ([30, 30], [8192, 8192], [32, 64], "x"):
        save_grounder(tmp_path / "size", tiny_network(), tiny_settings(), {"input": {"size": size}})
        with pytest.raises(VidaffError, match="input"):
            AffordanceGrounder.from_pretrained(tmp_path / "size")
    with pytest.raises(VidaffError, match="unknown precision"):
        AffordanceGrounder.from_pretrained(save_tiny_grounder(tmp_path / "good", clip), precision="int8")


def test_a_hub_id_takes_the_cached_copy_and_asks_the_hub_only_without_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fake(source: str, files: tuple[str, ...], *, local_files_only: bool = False) -> str:
        calls.append(files)
        if local_files_only and len(calls) > 1:
            raise VidaffError("not cached")
        return str(folder)

    monkeypatch.setattr("vidaff.grounding.hub_folder", fake)
    for _ in range(2):
        assert AffordanceGrounder.from_pretrained("owner/name", device="cpu")(picture(), "hold").shape == (40, 60)
    assert len(calls) == 3 and "text.safetensors" in calls[2]


def test_bfloat16_shifts_the_heat_little(folder: Path, grounder: AffordanceGrounder) -> None:
    low = AffordanceGrounder.from_pretrained(folder, device="cpu", precision="bf16")
    exact = grounder(picture(), "hold").astype(np.float64)
    rounded = low(picture(), "hold").astype(np.float64)
    assert 0 < (exact * np.log(exact / rounded)).sum() < 1e-3


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("changes", [{}, {"reasoning": False}, {"decoder": {"up_steps": 3}}], ids=str)
@torch.inference_mode()
def test_the_bfloat16_copy_follows_the_network(monkeypatch: pytest.MonkeyPatch, changes: dict, packed: bool) -> None:
    if not packed:
        monkeypatch.setattr("vidaff.models.image.bfloat16._pack", lambda weight: None)
    model = tiny_network(**changes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    low = to_bfloat16(model)
    images, text = torch.randn(2, 3, 40, 32), torch.randn(2, 3, 32)
    expected, found = model(images, text), low(images, text)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert (found - expected).abs().max() < 0.05 * expected.std() + 0.02
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("encoder", ["dino", "dinov2", "owlvit", "sam"])
@torch.inference_mode()
def test_every_encoder_has_a_bfloat16_copy(encoder: str) -> None:
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 8, "image_size": 32}
    extra = {"intermediate_size": 48} if encoder in ("dino", "owlvit") else {}
    sam = (
        {"output_channels": 24, "global_attn_indexes": [1], "window_size": 2, "mlp_dim": 48} if encoder == "sam" else {}
    )
    model = tiny_network(encoder=encoder, backbone={**small, **extra, **sam})
    images, text = torch.randn(1, 3, 32, 32), torch.randn(1, 32)
    expected, found = model(images, text), to_bfloat16(model)(images, text)
    assert (found - expected).abs().max() < 0.05 * expected.std() + 0.02


def test_a_tokenizer_that_only_the_checkpoint_names_is_not_downloaded(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_grounder(tmp_path, clip)
    table, settings_ = TextTable.load(folder)
    table.save(folder, settings_.model_copy(update={"tokenizer": "nobody/nothing-of-this-name"}))
    monkeypatch.setattr("vidaff.models.image.pretrained.ask_hub", lambda name: pytest.fail("asked the hub"))
    with pytest.raises(VidaffError, match=r"nothing-of-this-name.*not downloaded unasked"):
        AffordanceGrounder.from_pretrained(folder, device="cpu")(picture(), "grab")


def test_a_template_is_for_the_users_tower(tmp_path: Path, clip: Path) -> None:
    folder = save_tiny_grounder(tmp_path, clip, kind=None)
    plain, framed = (
        AffordanceGrounder.from_pretrained(folder, text_model=clip, template=template, device="cpu")
        .words.look_up(["hold"])[0]
        .feature
        for template in (None, "cut {}")
    )
    encoder = make_text_encoder(TextSettings(source=str(clip), template="cut {}"), 32)
    torch.testing.assert_close(framed, encoder(["hold"])[0])
    assert not torch.allclose(plain, framed)
    with pytest.raises(VidaffError, match="must hold"):
        AffordanceGrounder.from_pretrained(folder, text_model=clip, template="cut", device="cpu")
    for alone in ({"template": "cut {}"}, {"tokenizer": clip}):
        with pytest.raises(VidaffError, match="belong to a text model"):
            AffordanceGrounder.from_pretrained(folder, device="cpu", **alone)
