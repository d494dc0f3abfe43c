"""The whole network: clip form for training, step form for streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from vidaff.models.layers.conv_lstm import ConvLSTMLayer, LSTMState
from vidaff.models.layers.vgg import VGGEncoder
from vidaff.models.video.blocks import ActionHead, NoActions, ResidualBlock, SoftAttention
from vidaff.models.video.decoder import Decoder

StreamState = tuple[LSTMState, LSTMState]
"""States of both ConvLSTMs: all that a stream remembers of earlier frames."""


class VideoOutput(NamedTuple):
    """What the network says of one frame (last or streamed), or of every frame (with a T axis after B).

    logits: (B, K + 1, H, W) or (B, T, K + 1, H, W), before softmax; the background is the last class.
    action_logits: (B, A) or (B, T, A), before softmax; A = 0 for models of still pictures.
    attention: (B, 1, H // 8, W // 8) or (B, T, 1, H // 8, W // 8) in [0, 1], None without attention.
    """

    logits: torch.Tensor
    action_logits: torch.Tensor
    attention: torch.Tensor | None


class VideoAffordanceNet(nn.Module):
    """Two-stream spatio-temporal autoencoder with soft attention.

    Source: Thermos et al., ICASSP 2020, figure 2 and section 2. The parts are passed in; see
    :func:`vidaff.models.video.build_video_model` for the numbers.

    Shapes at full width, one frame of 300x300: encoders 512x37x37 each -> fusion 512x37x37 -> ``X`` 512x37x37 ->
    ``X_bar`` 512x37x37 -> mask 1x37x37 -> logits 10x300x300.

    ``norms`` act on the RGB-D encoder's output, the flow encoder's output and ``X``. The paper has none (identities);
    trained from scratch without them, the encoder's output grows without bound and saturates the ConvLSTMs' gates.
    """

    def __init__(
        self,
        *,
        rgbd_encoder: VGGEncoder,
        flow_encoder: VGGEncoder | None,
        fusion: nn.Conv2d | None,
        residual: ResidualBlock,
        norms: Sequence[nn.Module],
        lstm1: ConvLSTMLayer,
        lstm2: ConvLSTMLayer,
        attention: SoftAttention | None,
        decoder: Decoder,
        action_head: ActionHead | NoActions,
    ) -> None:
        super().__init__()
        self.rgbd_encoder = rgbd_encoder
        self.flow_encoder = flow_encoder
        self.fusion = fusion
        self.residual = residual
        self.rgbd_norm, self.flow_norm, self.latent_norm = norms
        self.lstm1 = lstm1
        self.lstm2 = lstm2
        self.attention = attention
        self.decoder = decoder
        self.action_head = action_head

    def forward(
        self, rgbd: torch.Tensor, flow: torch.Tensor | None = None, *, frames: str = "last", actions: str = "last"
    ) -> VideoOutput:
        """Run a clip.

        Args:
            rgbd: (B, T, C, H, W), C = 4 for RGB-D models and 3 for RGB models, normalised; H and W at least 8.
            flow: (B, T, 3, H, W) colour-coded flow, normalised; None for single-stream models.
            frames: ``last`` decodes the last frame only (training), ``all`` every frame.
            actions: ``all`` gives the action logits of every frame (B, T, A) even when only the last is decoded.

        Raises:
            ValueError: a second stream is missing or not wanted, or shapes do not fit.
        """
        self._check(rgbd, flow)
        batch, time = rgbd.shape[:2]
        frames_rgbd = rgbd.transpose(0, 1)  # (T, B, C, H, W)
        first = 0 if frames == "all" else time - 1
        # Skips are needed for the decoded frames only; slicing them out of one stacked batch costs a backward pass
        # over the whole stack, so the frames before are encoded by themselves.
        late, skips = self.rgbd_encoder(frames_rgbd[first:].flatten(0, 1), skips=True)
        early = [self.rgbd_encoder(frames_rgbd[:first].flatten(0, 1))[0]] if first else []
        encoded = torch.cat([*early, late])  # (T * B, D, h, w)
        x = self._latent(encoded, None if flow is None else flow.transpose(0, 1).flatten(0, 1))
        hidden1, _ = self.lstm1(x, batch)
        hidden2, _ = self.lstm2(torch.cat(hidden1), batch)
        x_bar = torch.cat(hidden2[first:])  # (N, D, h, w), N = B or T * B
        logits, mask = self._decode(x[first * batch :], x_bar, skips)
        action_maps = torch.cat(hidden2) if actions == "all" else x_bar
        action = self.action_head(action_maps)
        if frames == "all":
            logits, mask = _split_time(logits, batch), None if mask is None else _split_time(mask, batch)
        if frames == "all" or actions == "all":
            action = _split_time(action, batch)
        return VideoOutput(logits, action, mask)

    def step(
        self, rgbd: torch.Tensor, flow: torch.Tensor | None = None, state: StreamState | None = None
    ) -> tuple[VideoOutput, StreamState]:
        """Run one frame of a stream; equal to the clip form on the frames so far.

        Args:
            rgbd: (B, C, H, W).
            flow: (B, 3, H, W), None for single-stream models.
            state: what the previous step returned, None before the first frame.

        Returns:
            The output of this frame (no T axis) and the state for the next step.
        """
        self._check(rgbd[:, None], None if flow is None else flow[:, None])
        encoded, skips = self.rgbd_encoder(rgbd, skips=True)
        x = self._latent(encoded, flow)
        state1, state2 = state if state is not None else (None, None)
        (hidden1,), state1 = self.lstm1(x, rgbd.shape[0], state1)
        (x_bar,), state2 = self.lstm2(hidden1, rgbd.shape[0], state2)
        logits, mask = self._decode(x, x_bar, skips)
        return VideoOutput(logits, self.action_head(x_bar), mask), (state1, state2)

    def to_bfloat16(self) -> VideoAffordanceNet:
        """Cast the weights in place for inference under autocast; the last convolution keeps full precision."""
        self.to(torch.bfloat16)
        self.decoder.predict.float()
        return self

    def _latent(self, encoded: torch.Tensor, flow: torch.Tensor | None) -> torch.Tensor:
        """Fusion of both streams and the residual block: (N, D, h, w) -> ``X`` (N, D, h, w)."""
        encoded = self.rgbd_norm(encoded)
        if self.flow_encoder is not None and self.fusion is not None:
            motion, _ = self.flow_encoder(flow)
            encoded = self.fusion(torch.cat([encoded, self.flow_norm(motion)], dim=1))
        latent: torch.Tensor = self.latent_norm(self.residual(encoded))
        return latent

    def _decode(
        self, x: torch.Tensor, x_bar: torch.Tensor, skips: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        mask = None if self.attention is None else self.attention(x, x_bar)
        return self.decoder(x_bar, mask, skips), mask

    def _check(self, rgbd: torch.Tensor, flow: torch.Tensor | None) -> None:
        channels = self.rgbd_encoder.stages[0][0].in_channels  # type: ignore[index]
        if rgbd.ndim != 5 or rgbd.shape[2] != channels or rgbd.shape[1] < 1:
            raise ValueError(f"rgbd must be (B, T, {channels}, H, W), got {tuple(rgbd.shape)}")
        if min(rgbd.shape[-2:]) < 8:
            raise ValueError(f"frames must be at least 8x8 pixels, got {tuple(rgbd.shape[-2:])}")
        if (flow is None) != (self.flow_encoder is None):
            need = "needs" if flow is None else "takes no"
            raise ValueError(f"this model {need} flow; its second stream is fixed by its settings")
        if flow is not None and flow.shape != (*rgbd.shape[:2], 3, *rgbd.shape[-2:]):
            raise ValueError(f"flow must be (B, T, 3, H, W) like rgbd {tuple(rgbd.shape)}, got {tuple(flow.shape)}")


def _split_time(x: torch.Tensor, batch: int) -> torch.Tensor:
    """(T * B, ...) -> (B, T, ...)."""
    return x.unflatten(0, (-1, batch)).transpose(0, 1)
