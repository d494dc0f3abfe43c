"""Encoders: CLIP from both of its homes against transformers, text, and the encoders of the paper's Table 11."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.image_models import OpenAiClip, rewrite_entry, save_archive, save_tokenizer, tiny_clip, tiny_settings
from vidaff.errors import VidaffError
from vidaff.models.image import build_grounder, load_grounder, pretrained_grounder, save_grounder
from vidaff.models.image.clip_weights import clip_text, clip_vision
from vidaff.models.image.text import TextEncoder, parts_phrase, readable

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny_clip().save_pretrained(folder)
    return save_tokenizer(folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OpenAiClip]:
    path = tmp_path_factory.mktemp("openai") / "ViT-tiny.pt"
    return path, save_archive(path)


def pictures(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_clip_of_transformers_gives_its_class_token(clip_folder: Path) -> None:
    model, settings = pretrained_grounder(clip_folder, tiny_settings())
    assert settings.clip.model_dump() == {"width": 24, "layers": 2, "heads": 3, "patch": 8, "grid": 4}
    expected = tiny_clip().get_image_features(pixel_values=pictures(32, 32)).pooler_output
    torch.testing.assert_close(model.encoder(pictures(32, 32))[:, 0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_clip_of_transformers_at_another_size(clip_folder: Path) -> None:
    model, _ = pretrained_grounder(clip_folder, tiny_settings())
    output = tiny_clip().vision_model(pictures(40, 48), interpolate_pos_encoding=True)
    expected = tiny_clip().visual_projection(output.pooler_output)
    torch.testing.assert_close(model.encoder(pictures(40, 48))[:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_openais_archive(tmp_path: Path, half: bool) -> None:
    theirs = save_archive(tmp_path / "clip.pt", half=half).float()
    model, settings = pretrained_grounder(tmp_path / "clip.pt", tiny_settings(), heads=3)
    assert settings.clip.heads == 3
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    torch.testing.assert_close(model.encoder(pictures(32, 32)), theirs.visual(pictures(32, 32)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_openais_text_tower_computes_as_defined(archive: tuple[Path, OpenAiClip]) -> None:
    path, theirs = archive
    tokens = torch.tensor([[72, 5, 9, 73, 73], [72, 1, 73, 73, 73]])
    x = theirs.token_embedding(tokens) + theirs.positional_embedding[:5]
    mask = torch.full((5, 5), float("-inf")).triu(1)
    for block in theirs.transformer.resblocks:
        y = block.ln_1(x)
        q, k, v = torch.nn.functional.linear(y, block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (z.unflatten(-1, (3, 8)).transpose(1, 2) for z in (q, k, v))
        y = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + mask, dim=-1) @ v
        x = x + block.attn.out_proj(y.transpose(1, 2).flatten(2))
        y = block.mlp.c_fc(block.ln_2(x))
        x = x + block.mlp.c_proj(y * torch.sigmoid(1.702 * y))
    expected = theirs.ln_final(x)[[0, 1], [3, 2]] @ theirs.text_projection
    actual = clip_text(path, heads=3)(input_ids=tokens).text_embeds
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_text_features(clip_folder: Path) -> None:
    encoder = TextEncoder.from_pretrained(clip_folder)
    features = encoder(["cut_with", "knife blade", "hold"])
    assert features.shape == (3, encoder.dim) == (3, 32)
    # Padding changes nothing but the order of sums.
    torch.testing.assert_close(encoder(["hold"]), features[2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(["Cut  with"]), features[:1], atol=1e-5, rtol=0)
    tokens = encoder.tokenizer(["hold"], return_tensors="pt")
    expected = tiny_clip().get_text_features(**tokens).pooler_output
    torch.testing.assert_close(features[2:], expected, atol=1e-6, rtol=0)
    prompted = TextEncoder.from_pretrained(clip_folder, template="the {} part")
    torch.testing.assert_close(prompted(["hold"]), encoder(["the hold part"]), atol=0, rtol=0)
    assert encoder(["a" * 500]).isfinite().all()  # cut to the tower's context
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert not encoder.train().training


def test_phrases() -> None:
    assert readable(" cut__with ") == "cut with"
    assert parts_phrase("knife blade.knife_handle") == "knife blade and knife handle"
    for empty in ("", "  ", "__", "?!"):
        with pytest.raises(ValueError, match="must hold a word"):
            readable(empty)


def test_text_encoder_says_what_is_missing(clip_folder: Path, archive: tuple[Path, OpenAiClip], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="template must hold"):
        TextEncoder.from_pretrained(clip_folder, template="a photo")
    with pytest.raises(VidaffError, match="has no vocabulary"):
        TextEncoder.from_pretrained(archive[0])
    with pytest.raises(VidaffError, match="no such file or folder"):
        TextEncoder.from_pretrained(tmp_path / "nothing")
    encoder = TextEncoder.from_pretrained(archive[0], tokenizer=clip_folder, heads=3)
    assert encoder(["hold"]).shape == (1, 32)


def test_a_clip_with_another_activation_is_refused(tmp_path: Path) -> None:
    tiny_clip(hidden_act="gelu").save_pretrained(tmp_path)
    with pytest.raises(VidaffError, match="only quick_gelu"):
        clip_vision(tmp_path)


def test_a_clip_of_another_width_is_refused(clip_folder: Path) -> None:
    with pytest.raises(VidaffError, match=r"proj is \(24, 32\) instead of \(24, 64\)"):
        pretrained_grounder(clip_folder, tiny_settings(dim=64))


def small_backbone(name: str):
    """A tiny published model of Table 11, in the form in which it is published."""
    import transformers as hf

    torch.manual_seed(0)
    if name == "dino":
        return hf.ViTModel(hf.ViTConfig(**SMALL, intermediate_size=48))
    if name == "dinov2":
        return hf.Dinov2Model(hf.Dinov2Config(**SMALL, mlp_ratio=2))
    if name == "owlvit":
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        vision = {**SMALL, "intermediate_size": 48}
        return hf.OwlViTModel(hf.OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32))
    vision = {**SMALL, "output_channels": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 48}
    prompt = {"hidden_size": 16, "image_size": 32, "patch_size": 8, "image_embedding_size": 4}
    mask = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    return hf.SamModel(hf.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask))


def patch_tokens(name: str, theirs, images: torch.Tensor) -> torch.Tensor:
    """What the published model itself gives for the patches."""
    if name == "sam":
        return theirs.get_image_embeddings(images).flatten(2).transpose(1, 2)
    if name == "owlvit":
        return theirs.vision_model.post_layernorm(theirs.vision_model(images).last_hidden_state)[:, 1:]
    return theirs(images).last_hidden_state[:, 1:]


@pytest.mark.parametrize("name", ["dino", "dinov2", "owlvit", "sam"])
def test_encoders_of_table_11(name: str, tmp_path: Path) -> None:
    theirs = small_backbone(name).eval()
    theirs.save_pretrained(tmp_path / "published")
    model, settings = pretrained_grounder(tmp_path / "published", tiny_settings(encoder=name))
    model.eval()
    with torch.no_grad():
        tokens = model.encode(pictures(32, 32)).tokens
        expected = model.encoder.proj(patch_tokens(name, theirs, pictures(32, 32)))
        torch.testing.assert_close(tokens[:, 1:], expected, atol=1e-5, rtol=1e-5)
        if name == "owlvit":
            assert torch.equal(model.encoder.proj.weight, theirs.visual_projection.weight)
        logits = model(pictures(40, 56), torch.zeros(2, 32))
        assert logits.shape == (2, 1, 20, 28)
        save_grounder(tmp_path / "ours", model, settings)
        again = load_grounder(tmp_path / "ours").model
        torch.testing.assert_close(again(pictures(40, 56), torch.zeros(2, 32)), logits, atol=0, rtol=0)
    model(pictures(32, 32), torch.ones(2, 32)).square().sum().backward()
    weights = [(n, p) for n, p in model.encoder.named_parameters() if p.requires_grad]
    assert [n for n, p in weights if p.grad is None] == []


@pytest.mark.parametrize(("name", "patch"), [("dino", 16), ("dinov2", 14), ("owlvit", 16), ("sam", 16)])
def test_encoders_of_table_11_are_vit_b_by_default(name: str, patch: int) -> None:
    from vidaff.models.image import GrounderSettings

    with torch.device("meta"):
        encoder = build_grounder(GrounderSettings(encoder=name)).encoder
    assert encoder.patch == patch
    millions = sum(weight.numel() for weight in encoder.parameters()) / 1e6
    assert 85 < millions < 95


def test_another_kind_of_model_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError):
        pretrained_grounder(clip_folder, tiny_settings(encoder="dinov2"))
    with pytest.raises(VidaffError, match="no such file or folder"):
        pretrained_grounder(tmp_path / "nothing", tiny_settings(encoder="sam"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VidaffError, match="cannot be loaded"):
        pretrained_grounder(tmp_path / "empty", tiny_settings())


@pytest.mark.parametrize("backbone", [{"num_hidden_layers": 10**9}, {"hidden_size": 1e9}, {"num_hidden_layers": "x"}])
def test_impossible_backbones_are_refused(backbone: dict) -> None:
    with pytest.raises(ValueError, match="backbone"):
        build_grounder(tiny_settings(encoder="dino", backbone=backbone))


def test_an_archive_without_a_vision_transformer_is_refused(archive: tuple[Path, OpenAiClip], tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    path.write_bytes(archive[0].read_bytes())
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    torch.jit.save(module, path)
    with pytest.raises(VidaffError, match="no weights of CLIP"):
        pretrained_grounder(path, tiny_settings())
    rewrite_entry(path, "data.pkl", b"")
    with pytest.raises(VidaffError, match="not readable"):
        pretrained_grounder(path, tiny_settings())
