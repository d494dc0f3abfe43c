"""One builder that shows the whole model with its numbers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from vidaff.config import ModelSettings
from vidaff.models.layers.conv_lstm import ConvLSTMLayer
from vidaff.models.layers.vgg import VGG_STAGES, VGGEncoder
from vidaff.models.video.blocks import ActionHead, NoActions, ResidualBlock, SoftAttention
from vidaff.models.video.decoder import Decoder
from vidaff.models.video.network import VideoAffordanceNet


def build_video_model(settings: ModelSettings | None = None) -> VideoAffordanceNet:
    """Build the network; the defaults are the paper's full model (71.4 M parameters, about 164 GMAC a 300x300 frame).

    Args:
        settings: see :class:`vidaff.config.ModelSettings`; the variants of the paper's Table 3 are its keys
            ``depth``, ``attention`` and ``second_stream``.

    Returns:
        A model with Xavier (paper, section 3) or He weights and zero biases, except the forget gates' bias of 1.
    """
    settings = settings or ModelSettings()
    stages = encoder_stages(settings.width)
    latent = stages[-1][-1]
    two_streams = settings.second_stream != "none"
    model = VideoAffordanceNet(
        rgbd_encoder=VGGEncoder(4 if settings.depth else 3, stages),
        flow_encoder=VGGEncoder(3, stages) if two_streams else None,
        fusion=nn.Conv2d(2 * latent, latent, 1) if two_streams else None,
        residual=ResidualBlock(latent),
        norms=[nn.GroupNorm(1, latent) if settings.latent_norm == "group" else nn.Identity() for _ in range(3)],
        lstm1=ConvLSTMLayer(latent, latent, kernel=3),
        lstm2=ConvLSTMLayer(latent, latent, kernel=3),
        attention=None if settings.attention == "none" else SoftAttention(latent, settings.attention),
        decoder=Decoder(
            latent,
            widths=[max(_scaled(c, settings.width), settings.decoder_floor) for c in (256, 128, 64)],
            skips=[stage[-1] for stage in stages[:3]],
            num_classes=settings.num_classes,
            norm=settings.decoder_norm == "group",
        ),
        action_head=ActionHead(latent, settings.num_actions) if settings.num_actions else NoActions(),
    )
    _initialise(model, settings.init)
    return model


def encoder_stages(width: float) -> list[list[int]]:
    """Output channels of both encoders' convolutions, by stage, for a width multiplier."""
    return [[_scaled(c, width) for c in stage] for stage in VGG_STAGES]


def _scaled(channels: int, width: float) -> int:
    """Channels times ``width``, a multiple of 8 (vector registers, group normalisation), at least 8."""
    return max(8, round(channels * width / 8) * 8)


def _initialise(model: VideoAffordanceNet, kind: Literal["xavier", "he"]) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if kind == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # Gates are no ReLU units, and an untrained prediction should not be sure of anything.
    nn.init.xavier_uniform_(model.decoder.predict.weight, gain=0.1 if kind == "he" else 1.0)
    for lstm in (model.lstm1, model.lstm2):
        assert lstm.from_input.bias is not None  # for the type checker
        nn.init.xavier_uniform_(lstm.from_input.weight)
        nn.init.xavier_uniform_(lstm.from_hidden.weight)
        with torch.no_grad():
            # Gates are ordered input, forget, cell, output; a forget bias of 1 keeps early memory (ours).
            lstm.from_input.bias[lstm.hidden : 2 * lstm.hidden] = 1.0
