"""First weights of encoders: VGG-16 answers as torchvision's does, and what does not fit is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from vidaff.config import InputSettings, ModelSettings, load_recipe
from vidaff.errors import VidaffError
from vidaff.flow3d.colour import encode_flow
from vidaff.models.layers import VGGEncoder
from vidaff.models.video import build_video_model
from vidaff.models.video.action_encoder import build_action_encoder
from vidaff.models.video.encoder_checkpoint import load_encoder, save_encoder
from vidaff.models.video.encoder_settings import EncoderModel, EncoderRecipe
from vidaff.models.video.initial import Start, fold, parse_init, read_encoder, start_of_run
from vidaff.models.video.inputs import IMAGENET_MEAN, IMAGENET_STD, InputCoder
from vidaff.weights import load_checkpoint, save_checkpoint

SMALL = EncoderRecipe(model=EncoderModel(width=0.125, hidden=8))


def vgg16_state(build=torchvision.models.vgg16, *, random=False):
    """A state dict in torchvision's form: whole, or a light one of zeros without the large weights."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build(weights=None).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if random and name.startswith("features."):
            spread = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
            state[name] = torch.randn(shape, generator=generator) * float(spread)
        elif random or not name.startswith("classifier.") or name.endswith("bias"):
            state[name] = torch.zeros(()).expand(shape)
    return state


@pytest.fixture(scope="module")
def state():
    """Random convolutions, and fully connected layers of zeros."""
    return vgg16_state(random=True)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path


def encoder_of(weights, channels):
    encoder = VGGEncoder(channels)
    encoder.load_state_dict(weights)
    return encoder.eval()


def features(state, x, *, without=23):
    """torchvision's features up to conv5_1's ReLU, without pool4."""
    with torch.device("meta"):
        network = torchvision.models.vgg16(weights=None).features[:26]
    own = {name.removeprefix("features."): tensor for name, tensor in state.items() if name.startswith("features.")}
    network.load_state_dict({name: own[name] for name in network.state_dict()}, assign=True)
    for number, layer in enumerate(network):
        x = x if number == without else layer(x)
    return x


@torch.no_grad()
def test_colours_are_encoded_as_by_torchvision(state, file):
    weights, record = read_encoder("rgbd", file, ModelSettings(depth=False), InputSettings())
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(encoder_of(weights, 3)(x)[0], features(state, x))
    assert len(record["taken"]) == 11
    assert record["not_taken"] == ["conv5_2", "conv5_3", "fully connected layers"]
    assert len(record["sha256"]) == 64
    assert record["from"].endswith("/vgg16.pth")


@torch.no_grad()
def test_depth_gets_the_mean_of_the_colour_filters(state, file):
    weights, record = read_encoder("rgbd", file, ModelSettings(), InputSettings())
    first = state["features.0.weight"]
    assert torch.equal(weights["stages.0.0.weight"][:, :3], first)
    torch.testing.assert_close(weights["stages.0.0.weight"][:, 3], first.mean(1))
    x = torch.randn(1, 3, 16, 16)
    without_depth = torch.cat([x, torch.zeros(1, 1, 16, 16)], dim=1)
    torch.testing.assert_close(encoder_of(weights, 4)(without_depth)[0], features(state, x))
    assert any("inflated" in note for note in record["notes"])


@pytest.mark.parametrize("coding", ["signed", "abs"])
@torch.no_grad()
def test_coded_flow_is_to_the_encoder_what_its_picture_is_to_vgg16(state, file, coding):
    inputs = InputSettings(size=24, flow_coding=coding, flow_scale=0.1)
    weights, _ = read_encoder("flow", file, ModelSettings(), inputs)
    flow = np.random.default_rng(0).uniform(-0.15, 0.15, (24, 24, 3)).astype(np.float32)
    picture = torch.from_numpy(encode_flow(flow, coding=coding, scale=0.1)).permute(2, 0, 1).float() / 255
    normalised = torchvision.transforms.functional.normalize(picture, IMAGENET_MEAN, IMAGENET_STD)
    wanted = torch.nn.functional.conv2d(normalised[None], state["features.0.weight"], state["features.0.bias"])
    rgb = torch.zeros(1, 1, 24, 24, 3, dtype=torch.uint8)
    _, coded = InputCoder(inputs, ModelSettings())(rgb, None, torch.from_numpy(flow)[None, None])
    found = torch.nn.functional.conv2d(coded[0], weights["stages.0.0.weight"], weights["stages.0.0.bias"])
    # Both are pictures of 8 bits; "abs" has 255 steps in the one and 127 in the other.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 if coding == "signed" else 0.08)
    assert float(wanted.std()) > 0.3


def test_folding_is_exact_inside_the_picture():
    weight, bias = torch.randn(5, 3, 3, 3), torch.randn(5)
    scale, shift = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([1.0, -2.0, 0.3])
    x = torch.randn(1, 3, 9, 9)
    wanted = torch.nn.functional.conv2d(x * scale.view(3, 1, 1) + shift.view(3, 1, 1), weight, bias)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, *fold(weight, bias, scale, shift)), wanted)


def test_the_same_names_in_a_safetensors_file(state, file, tmp_path):
    path = tmp_path / "vgg16.safetensors"
    save_file({name: tensor for name, tensor in state.items() if name.startswith("features.")}, path)
    one, _ = read_encoder("rgbd", path, ModelSettings(), InputSettings())
    other, _ = read_encoder("rgbd", file, ModelSettings(), InputSettings())
    assert all(torch.equal(one[name], other[name]) for name in other)


class Hostile:
    def __reduce__(self):
        return print, ("code ran",)


def spoiled(state, name, value):
    return {**state, name: value}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: vgg16_state(torchvision.models.vgg19), r"features.17.weight is missing"),
        (lambda s: vgg16_state(torchvision.models.vgg16_bn), "vgg16_bn"),
        (lambda s: {"conv1.weight": torch.zeros(2)}, "no plain weights of torchvision's vgg16"),
        (lambda s: [1, 2], "no plain weights"),
        (lambda s: spoiled(s, "classifier.6.bias", torch.full((1000,), torch.nan)), "IMAGENET1K_V1"),
        (lambda s: spoiled(s, "features.5.bias", torch.full((128,), torch.inf)), "not finite"),
        (lambda s: spoiled(s, "features.0.weight", torch.zeros(64, 1, 3, 3)), r"is \(64, 1, 3, 3\)"),
        (lambda s: spoiled(s, "features.24.weight", torch.zeros(512, 4, 3, 3)), "the weight of conv5_1 is"),
        (lambda s: spoiled(s, "features.7.weight", torch.zeros(3, dtype=torch.int64)), "features.7.weight is missing"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, spoil, said):
    path = tmp_path / "weights.pth"
    torch.save(spoil(vgg16_state()), path)
    for stream in ("rgbd", "flow"):
        with pytest.raises(VidaffError, match=said) as caught:
            read_encoder(stream, path, ModelSettings(), InputSettings())
        assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path, capsys):
    for name, said in (("none.pth", "no such file"), ("none", "no such file"), ("none.txt", "no such file")):
        with pytest.raises(VidaffError, match=said):
            read_encoder("rgbd", tmp_path / name, ModelSettings(), InputSettings())
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Hostile()))
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 40)
    (tmp_path / "bad.txt").write_text("x")
    for name in ("bad.pth", "bad.safetensors", "bad.txt"):
        with pytest.raises(VidaffError):
            read_encoder("rgbd", tmp_path / name, ModelSettings(), InputSettings())
    assert capsys.readouterr().out == ""


def test_vgg16_needs_the_full_width(file):
    with pytest.raises(VidaffError, match=r"model.width=0.125 here; set model.width=1"):
        read_encoder("flow", file, ModelSettings(width=0.125), InputSettings())


@pytest.fixture
def encoder(tmp_path):
    """A checkpoint of a small encoder with random weights."""
    info = {"dataset": "utkinect", "protocol": "half", "epoch": 3}
    return save_encoder(tmp_path / "encoder", build_action_encoder(SMALL.model), SMALL, info)


def test_a_pre_trained_encoder_is_put_into_the_model(encoder):
    recipe = load_recipe("tiny")
    start = start_of_run({"rgbd": encoder}, recipe.model, recipe.input)
    model = build_video_model(recipe.model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start.put_into(model)
    taken = load_encoder(encoder).model.rgbd_encoder.state_dict()
    for name, tensor in model.state_dict().items():
        same = taken[name.removeprefix("rgbd_encoder.")] if name.startswith("rgbd_encoder.") else before[name]
        assert torch.equal(tensor, same), name
    assert set(start.info()) == {"init"}
    assert start.lines() == [
        "RGB-D encoder begins with " + "/".join(encoder.parts[-2:]) + " (vidaff encoder): 11 convolutions taken; "
        "trained on utkinect, protocol half for 3 epochs; input.depth_mean was 2.0 and is 0.6; input.depth_std was 1.0 "
        "and is 0.2; left out: head, lstm, norm"
    ]


def test_both_encoders_of_a_video_model_are_taken():
    recipe = load_recipe("small")
    start = start_of_run({"rgbd": "small", "flow": "small"}, recipe.model, recipe.input)
    model, shipped = build_video_model(recipe.model), load_checkpoint("small").model
    start.put_into(model)
    for stream in ("rgbd_encoder", "flow_encoder"):
        wanted = shipped.get_submodule(stream).state_dict()
        assert all(torch.equal(t, wanted[n]) for n, t in model.get_submodule(stream).state_dict().items())
    assert "rgbd_encoder" in start.records["flow"]["not_taken"]
    assert not any("input." in note for record in start.records.values() for note in record["notes"])


@pytest.mark.parametrize(
    ("stream", "changes", "said"),
    [
        ("rgbd", {"width": 0.25}, r"model.width=0.125 there, 0.25 here"),
        ("rgbd", {"depth": False}, r"model.depth=true \(4 channels\) there, false \(3 channels\) here"),
        ("rgbd", {"depth": False, "width": 1}, "there, 1 here; model.depth"),
        ("flow", {}, "an RGB-D encoder only, and no weights for the flow encoder"),
        ("flow", {"second_stream": "none"}, "has no flow encoder"),
    ],
)
def test_what_does_not_fit_is_named(encoder, stream, changes, said):
    recipe = load_recipe("tiny")
    with pytest.raises(VidaffError, match=said):
        start_of_run({stream: encoder}, recipe.model.model_copy(update=changes), recipe.input)


def test_a_video_model_without_flow_has_none_to_give(tmp_path):
    recipe = load_recipe("tiny", ["model.second_stream=none"])
    folder = save_checkpoint(tmp_path / "rgbd", build_video_model(recipe.model), recipe, {})
    with pytest.raises(VidaffError, match="without a flow encoder"):
        start_of_run({"flow": folder}, load_recipe("tiny").model, recipe.input)
    assert start_of_run({"rgbd": folder}, load_recipe("tiny").model, recipe.input).states


@pytest.mark.parametrize("text", ["rgbd", "rgbd=", "=x", "depth=x", ""])
def test_init_has_one_form(text):
    with pytest.raises(VidaffError, match="write rgbd=PATH or flow=PATH"):
        parse_init([text])


def test_init_takes_each_stream_once():
    assert parse_init(["rgbd=a=b", "flow=c"]) == {"rgbd": "a=b", "flow": "c"}
    with pytest.raises(VidaffError, match="rgbd is given twice"):
        parse_init(["rgbd=a", "rgbd=b"])


def test_nothing_asked_for_changes_nothing():
    recipe = load_recipe("tiny")
    start = start_of_run(None, recipe.model, recipe.input)
    assert start == Start()
    assert (start.info(), start.lines()) == ({}, [])


def test_a_damaged_record_is_refused(tmp_path):
    recipe = load_recipe("tiny")
    torch.save({"hyper_parameters": {"info": {"init": {"rgbd": 5}}}}, tmp_path / "last.ckpt")
    with pytest.raises(VidaffError, match="record of first weights is damaged"):
        start_of_run({}, recipe.model, recipe.input, last=str(tmp_path / "last.ckpt"))
