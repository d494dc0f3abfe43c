"""The grounding network: shapes, many queries at once, ablations, what gets gradients, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.models.image_models import tiny_network, tiny_settings
from vidaff.models.image import from_plsp_state_dict
from vidaff.models.image.exocentric import misalignment, pool_object
from vidaff.models.image.features import ImageFeatures, resize_positions
from vidaff.models.image.fuser import DropPath
from vidaff.models.image.losses import GroundingTargets, grounding_losses, parameter_groups, text_distance

TINY_HEADS = {"encoder_heads": 3, "fuser_heads": 4}
DECODERS = [
    {"up_steps": steps, "conv_first": conv, "learned_token": token}
    for steps in (0, 1, 2, 3) for conv in (True, False) for token in (True, False)
]  # fmt: skip


def pictures(batch: int = 2, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def texts(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 32, generator=torch.Generator().manual_seed(2))


def exocentric(batch: int = 2, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    masks = (torch.rand(batch, count, 16, generator=generator) < 0.5).float()
    return torch.randn(batch, count, 3, 32, 32, generator=generator), masks


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["grounding", "refinement"]))
@torch.no_grad()
def test_any_multiple_of_the_patch(rows: int, columns: int, task: str) -> None:
    logits = tiny_network(task=task)(pictures(1, (8 * rows, 8 * columns)), texts(1))
    assert logits.shape == (1, 1, 4 * rows, 4 * columns)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("task", ["grounding", "refinement"])
@pytest.mark.parametrize("decoder", [{}, {"learned_token": False}])
@torch.no_grad()
def test_many_queries_at_once_are_the_queries_one_by_one(task: str, decoder: dict) -> None:
    model = tiny_network(task=task, decoder={"mlp_dim": 48, **decoder})
    many = model(pictures(), texts(2, 3))
    assert many.shape == (2, 3, 16, 16)
    for number in range(3):
        one = model(pictures(), texts(2, 3)[:, number])
        torch.testing.assert_close(many[:, number : number + 1], one, atol=1e-5, rtol=0)
    assert (many[:, 0] - many[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
@torch.no_grad()
def test_every_decoder_comes_back_from_its_weights(decoder: dict) -> None:
    model = tiny_network(decoder={"mlp_dim": 48, **decoder})
    again = from_plsp_state_dict(model.state_dict(), **TINY_HEADS)
    logits = model(pictures(), texts(2))
    assert logits.shape == (2, 1, 4 * 2 ** decoder["up_steps"], 4 * 2 ** decoder["up_steps"])
    torch.testing.assert_close(again(pictures(), texts(2)), logits, atol=0, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"reasoning": False}, {"exocentric": False}, {"task": "refinement"}], ids=str)
def test_weights_are_copied_and_sizes_read_off(changes: dict) -> None:
    model = tiny_network(**changes)
    state = model.state_dict()
    again = from_plsp_state_dict(state, **TINY_HEADS)
    assert list(again.state_dict()) == list(state)
    with torch.no_grad():
        next(again.parameters()).add_(1)
    assert not torch.equal(next(again.parameters()), next(model.parameters()))
    assert not again.training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("encoder.proj"), "encoder.proj is missing"),
        (lambda s: s.pop("encoder.ln_pre.bias"), "encoder.ln_pre.bias is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda s: s.update({"exo_cls.2.bias": torch.zeros(7)}), r"exo_cls.2.bias is \(7,\) instead of \(5,\)"),
        (
            lambda s: s.update({"exo_cls.2.bias": torch.full((5,), torch.nan)}),
            "exo_cls.2.bias holds numbers .* not fin",
        ),
        (lambda s: s.update({"exo_cls.2.bias": torch.zeros(5, dtype=torch.int64)}), "not floating-point"),
        (lambda s: s.update({"encoder.conv1.weight": torch.zeros(3)}), "expected 4 axes"),
        (lambda s: s.update({"encoder.positional_embedding": torch.zeros(16, 24)}), "square grid"),
        (lambda s: s.clear(), "encoder.proj is missing"),
    ],
)
def test_foreign_weights_are_named(change, said: str) -> None:
    state = dict(tiny_network().state_dict())
    change(state)
    with pytest.raises(ValueError, match=said):
        from_plsp_state_dict(state, **TINY_HEADS)


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        from_plsp_state_dict(tiny_network().state_dict(), encoder_heads=5, fuser_heads=4)


@pytest.mark.parametrize(
    ("images", "text", "said"),
    [
        ((2, 3, 30, 32), (2, 32), "multiples of 8 pixels, got 30x32"),
        ((2, 3, 0, 32), (2, 32), "multiples of 8"),
        ((2, 1, 32, 32), (2, 32), r"\(B, 3, H, W\)"),
        ((3, 32, 32), (2, 32), r"\(B, 3, H, W\)"),
        ((2, 3, 32, 32), (1, 32), "text must be"),
        ((2, 3, 32, 32), (2, 31), "text must be"),
        ((2, 3, 32, 32), (2, 0, 32), "text must be"),
    ],
)
def test_wrong_shapes_are_named(images: tuple, text: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tiny_network()(torch.zeros(images), torch.zeros(text))


@pytest.mark.parametrize(
    "settings_", [{"dim": 40}, {"reasonning": True}, {"encoder": "clip", "backbone": {}}, {"margin": float("nan")}]
)
def test_wrong_settings_are_refused(settings_: dict) -> None:
    with pytest.raises(ValidationError):
        tiny_settings(**settings_)


def test_training_reaches_every_weight_and_detaches_what_it_must() -> None:
    model = tiny_network().train()
    exo_images, exo_masks = exocentric()
    exo_images.requires_grad_()
    output = model.with_exocentric(pictures(), texts(2), exo_images, exo_masks)
    assert output.misalignment.shape == (2, 3)
    assert output.exo_logits.shape == (2, 3, 5)
    heat = torch.softmax(texts(2, 2)[..., :1024].flatten(1)[:, :64], dim=1).view(2, 1, 8, 8)
    losses = grounding_losses(output, GroundingTargets(heat, torch.tensor([1, 4]), texts(2), texts(2)))
    assert set(losses) == {"heatmap", "alignment", "exo", "noun", "part", "total"}
    (from_alignment,) = torch.autograd.grad(losses["alignment"], exo_images, retain_graph=True, allow_unused=True)
    assert from_alignment is None or not from_alignment.any()
    (from_noun,) = torch.autograd.grad(losses["noun"], model.encoder.proj, retain_graph=True, allow_unused=True)
    assert from_noun is None
    losses["total"].backward()
    weights = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    assert [name for name, weight in weights if weight.grad is None or not weight.grad.any()] == []
    others, encoder = parameter_groups(model, 1e-4)
    assert (others["lr"], encoder["lr"]) == (1e-4, pytest.approx(1e-5))
    assert len(encoder["params"]) == len(list(model.encoder.parameters()))
    assert len(others["params"]) + len(encoder["params"]) == sum(p.requires_grad for p in model.parameters())


def test_ablations_leave_out_their_losses() -> None:
    model = tiny_network(reasoning=False, exocentric=False)
    assert not [name for name in model.state_dict() if name.startswith(("exo_cls", "noun_transform", "reason"))]
    output = model.ground(model.encode(pictures()), texts(2))
    assert output.noun is None and output.part is None
    heat = torch.full((2, 1, 64, 64), 1 / 4096)
    losses = grounding_losses(output, GroundingTargets(heat, torch.zeros(2, dtype=torch.long), texts(2), texts(2)))
    assert set(losses) == {"heatmap", "total"}
    with pytest.raises(ValueError, match="no exocentric branch"):
        model.with_exocentric(pictures(), texts(2), *exocentric())


def test_exocentric_shapes_are_checked() -> None:
    images, masks = exocentric()
    with pytest.raises(ValueError, match="exo_images must be"):
        tiny_network().with_exocentric(pictures(), texts(2), images[:1], masks)
    with pytest.raises(ValueError, match="exo_masks must be"):
        tiny_network().with_exocentric(pictures(), texts(2), images, masks[:, :, :-1])


def test_pooling_and_margin() -> None:
    tokens = torch.tensor([[[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]]])
    mask = torch.tensor([[[1.0, 1.0, 0.0]]])
    assert pool_object(tokens, mask, "sum").tolist() == [[[4.0, 0.0]]]
    assert pool_object(tokens, mask, "mean").tolist() == [[[2.0, 0.0]]]
    assert pool_object(tokens, mask * 0, "mean").tolist() == [[[0.0, 0.0]]]
    exo = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    torch.testing.assert_close(misalignment(torch.tensor([[[2.0, 0.0]]]), exo, 0.1), torch.tensor([[0.0, 0.9, 1.9]]))


def test_pairing_of_the_text_loss() -> None:
    text = torch.eye(2)
    assert text_distance(text[:, None], text).item() == 0
    assert text_distance(text[:, None], text, "broadcast").item() == 0.5


def test_drop_path_drops_whole_queries_in_training_only() -> None:
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(1000, 1, 4)
    dropped = layer.train()(x)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert torch.equal(dropped.amin(-1), dropped.amax(-1))
    assert dropped.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(layer.eval()(x), x)


def test_positions_at_their_own_size_and_between() -> None:
    table = torch.arange(4.0).repeat_interleave(4)[:, None].expand(16, 3)  # the row's number
    assert torch.equal(resize_positions(table, (4, 4)), table)
    wide = resize_positions(table, (4, 8)).view(4, 8, 3)
    torch.testing.assert_close(wide, torch.arange(4.0)[:, None, None].expand(4, 8, 3))


@pytest.mark.slow
@torch.no_grad()
def test_full_size_forward() -> None:
    from vidaff.models.image import build_grounder

    torch.manual_seed(0)
    model = build_grounder().eval()
    assert sum(weight.numel() for weight in model.parameters()) == 112_520_740
    again = from_plsp_state_dict(model.state_dict())
    image, text = torch.randn(1, 3, 224, 224), torch.randn(1, 512)
    logits = model(image, text)
    assert logits.shape == (1, 1, 56, 56)
    torch.testing.assert_close(again(image, text), logits, atol=0, rtol=0)


def test_bf16_training_keeps_places_and_logits_in_fp32() -> None:
    decoder = tiny_network().pred_decoder
    exact = decoder.pe_layer((4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decoder.pe_layer((4, 4)), exact)
        features = ImageFeatures(torch.randn(1, 17, 32), (4, 4))
        logits = decoder(torch.randn(1, 1, 32), features)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
