"""The video network: shapes, stream equals clip, variants, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.config import InputSettings, ModelSettings
from vidaff.flow3d.store import INVALID
from vidaff.models.video import build_video_model
from vidaff.models.video.inputs import InputCoder

VARIANTS = {
    "paper": {},
    "rgb": {"depth": False},
    "one stream": {"second_stream": "none"},
    "sigmoid, group norm": {"attention": "sigmoid", "decoder_norm": "group", "latent_norm": "group"},
    "no attention": {"attention": "none"},
    "the simplest": {"depth": False, "second_stream": "none", "attention": "none"},
}


def small(**changes):
    torch.manual_seed(0)
    return build_video_model(ModelSettings(width=0.125, init="he", **changes)).eval()


def random_inputs(model_settings, *, batch=2, time=4, size=(37, 45)):
    generator = torch.Generator().manual_seed(1)
    channels = 4 if model_settings.depth else 3
    rgbd = torch.randn(batch, time, channels, *size, generator=generator)
    flow = torch.randn(batch, time, 3, *size, generator=generator)
    return rgbd, None if model_settings.second_stream == "none" else flow


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_stream_equals_clip(changes):
    model, config = small(**changes), ModelSettings(**changes)
    rgbd, flow = random_inputs(config)
    every, last, state = model(rgbd, flow, frames="all"), model(rgbd, flow), None
    for t in range(rgbd.shape[1]):
        output, state = model.step(rgbd[:, t], None if flow is None else flow[:, t], state)
        torch.testing.assert_close(output.logits, every.logits[:, t], atol=1e-5, rtol=0)
        torch.testing.assert_close(output.action_logits, every.action_logits[:, t], atol=1e-5, rtol=0)
        if config.attention != "none":
            torch.testing.assert_close(output.attention, every.attention[:, t], atol=1e-5, rtol=0)
    torch.testing.assert_close(last.logits, every.logits[:, -1], atol=1e-5, rtol=0)
    assert last.logits.shape == (2, 10, 37, 45)
    assert (last.attention is None) == (config.attention == "none")


@torch.no_grad()
def test_the_stream_remembers():
    model = small()
    rgbd, flow = random_inputs(ModelSettings())
    _, state = model.step(rgbd[:, 0], flow[:, 0])
    with_memory, _ = model.step(rgbd[:, 1], flow[:, 1], state)
    without, _ = model.step(rgbd[:, 1], flow[:, 1])
    assert (with_memory.logits - without.logits).abs().max() > 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70))
@torch.no_grad()
def test_any_size(height, width):
    model = small()
    output = model(torch.zeros(1, 1, 4, height, width), torch.zeros(1, 1, 3, height, width))
    assert output.logits.shape == (1, 10, height, width)
    assert output.attention.shape == (1, 1, height // 8, width // 8)
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@torch.no_grad()
def test_attention_lies_between_0_and_1(kind):
    rgbd, flow = random_inputs(ModelSettings())
    mask = small(attention=kind)(rgbd * 10, flow * 10).attention
    assert mask.min() >= 0
    assert mask.max() <= 1
    if kind == "softmax":
        torch.testing.assert_close(mask.amax(dim=(2, 3)), torch.ones(2, 1))


@torch.no_grad()
def test_norms_keep_the_memory_alive_however_large_the_encoder_grows():
    model = small(decoder_norm="group", latent_norm="group")
    rgbd, flow = random_inputs(ModelSettings())
    before = model(rgbd, flow)
    for encoder in (model.rgbd_encoder, model.flow_encoder):
        encoder.stages[0][0].weight *= 1000
    after = model(rgbd, flow)
    torch.testing.assert_close(after.logits, before.logits, atol=2e-2, rtol=0)
    torch.testing.assert_close(after.action_logits, before.action_logits, atol=2e-2, rtol=0)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_every_weight_gets_a_gradient(norm):
    model = small(decoder_norm=norm, latent_norm=norm).train()
    rgbd, flow = random_inputs(ModelSettings())
    output = model(rgbd, flow)
    (output.logits.square().mean() + output.action_logits.square().mean()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(
    ("rgbd", "flow", "said"),
    [
        ((1, 1, 3, 32, 32), (1, 1, 3, 32, 32), "rgbd must be"),
        ((1, 1, 4, 7, 32), (1, 1, 3, 7, 32), "at least 8x8"),
        ((1, 1, 4, 32, 32), None, "needs flow"),
        ((1, 2, 4, 32, 32), (1, 1, 3, 32, 32), "flow must be"),
    ],
)
def test_wrong_shapes_are_named(rgbd, flow, said):
    with pytest.raises(ValueError, match=said):
        small()(torch.zeros(rgbd), None if flow is None else torch.zeros(flow))


def test_full_size_numbers_of_the_card():
    with torch.device("meta"):
        model = build_video_model()
    assert sum(p.numel() for p in model.parameters()) == 71_381_076
    convolutions = [len(stage) for stage in model.rgbd_encoder.stages]
    assert convolutions == [2, 2, 3, 4]
    decoder = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(decoder) == 15  # fourteen CONV+ReLU and the prediction


def coder(**changes):
    return InputCoder(InputSettings(size=(16, 16), **changes), ModelSettings())


def test_missing_depth_stays_zero_and_is_never_averaged_in():
    rgb = torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8)
    depth = torch.full((1, 1, 32, 32), 900, dtype=torch.int32)
    depth[..., ::3, ::3] = 0
    rgbd, _ = coder(depth_mean=0.5, depth_std=0.1)(rgb, depth, None)
    values = rgbd[:, :, 3].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 4.0]))


def test_no_motion_is_zero_and_direction_survives_the_signed_code():
    rgb = torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8)
    flow = torch.zeros(1, 1, 16, 16, 3, dtype=torch.int16)
    flow[..., 0, 0, :] = INVALID
    flow[..., 1, 1, 0] = -500  # 5 cm to the left
    _, signed = coder()(rgb, None, flow)
    _, absolute = coder(flow_coding="abs")(rgb, None, flow)
    assert signed[..., 1, 1][0, 0, 0] < -1
    assert absolute[..., 1, 1][0, 0, 0] > 1
    assert torch.count_nonzero(signed) == 1
    _, still = coder()(rgb, None, None)
    assert still.shape == (1, 1, 3, 16, 16)
    assert torch.count_nonzero(still) == 0
