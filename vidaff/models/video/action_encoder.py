"""The RGB-D encoder of the video model with an LSTM behind it: what learns to tell actions before affordances."""

from __future__ import annotations

import torch
from torch import nn

from vidaff.models.layers.vgg import VGGEncoder
from vidaff.models.video.build import encoder_stages
from vidaff.models.video.encoder_settings import EncoderModel


class ActionEncoder(nn.Module):
    """VGG encoder of every frame, global average pool, LSTM over the clip, one fully connected layer.

    Source: Thermos et al., ICASSP 2020, section 3: the RGB-D encoder is pre-trained together with an LSTM on action
    recognition. Pooling, the LSTM's size, one layer of it, and that its last output decides, are ours.

    Shapes at full width, a clip of 10 frames of 300x300: encoder (10, 512, 37, 37) -> pooled (10, 512) -> LSTM
    (10, 512) -> logits (10 actions) of the last frame.
    """

    def __init__(
        self, *, rgbd_encoder: VGGEncoder, norm: nn.Module, lstm: nn.LSTM, dropout: nn.Module, head: nn.Linear
    ) -> None:
        super().__init__()
        self.rgbd_encoder = rgbd_encoder
        self.norm = norm
        self.lstm = lstm
        self.dropout = dropout
        self.head = head

    def forward(self, rgbd: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits (B, A) before softmax, float32.

        Args:
            rgbd: (B, T, C, H, W), normalised as :class:`vidaff.models.video.inputs.InputCoder` does; H and W at
                least 8.
            lengths: (B,) integers from 1 to T: frames of each clip. Those behind are padding and never looked at.

        Raises:
            ValueError: shapes do not fit.
        """
        self._check(rgbd, lengths)
        batch, time = rgbd.shape[:2]
        valid = torch.arange(time, device=rgbd.device) < lengths[:, None]  # (B, T)
        maps, _ = self.rgbd_encoder(rgbd[valid])  # (N, D, h, w), N frames that are no padding
        pooled = self.norm(maps.mean(dim=(2, 3)))  # (N, D)
        features = pooled.new_zeros(batch, time, pooled.shape[1])
        features[valid] = pooled
        outputs, _ = self.lstm(features)  # (B, T, hidden)
        last = outputs[torch.arange(batch, device=rgbd.device), lengths - 1]  # (B, hidden)
        logits: torch.Tensor = self.head(self.dropout(last))
        return logits.float()

    def _check(self, rgbd: torch.Tensor, lengths: torch.Tensor) -> None:
        channels = self.rgbd_encoder.stages[0][0].in_channels  # type: ignore[index]
        if rgbd.ndim != 5 or rgbd.shape[2] != channels or min(rgbd.shape[-2:]) < 8:
            raise ValueError(f"rgbd must be (B, T, {channels}, H, W) of at least 8x8 pixels, got {tuple(rgbd.shape)}")
        if lengths.shape != rgbd.shape[:1] or int(lengths.min()) < 1 or int(lengths.max()) > rgbd.shape[1]:
            raise ValueError(f"lengths must be (B,) numbers from 1 to {rgbd.shape[1]}, got {lengths.tolist()}")


def build_action_encoder(settings: EncoderModel | None = None) -> ActionEncoder:
    """Build the network with random weights; the encoder's are drawn as the video model draws its own."""
    settings = settings or EncoderModel()
    stages = encoder_stages(settings.width)
    latent = stages[-1][-1]
    model = ActionEncoder(
        rgbd_encoder=VGGEncoder(4 if settings.depth else 3, stages),
        norm=nn.LayerNorm(latent) if settings.feature_norm == "layer" else nn.Identity(),
        lstm=nn.LSTM(latent, settings.hidden, batch_first=True),
        dropout=nn.Dropout(settings.dropout),
        head=nn.Linear(settings.hidden, settings.num_actions),
    )
    _initialise(model, he=settings.init == "he")
    return model


def _initialise(model: ActionEncoder, *, he: bool) -> None:
    for module in model.rgbd_encoder.modules():
        if isinstance(module, nn.Conv2d):
            if he:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # it has one
    hidden = model.lstm.hidden_size
    for name, weight in model.lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)
            if name.startswith("bias_ih"):
                # Gates are ordered input, forget, cell, output; as in the video model a forget bias of 1 keeps early
                # memory.
                nn.init.ones_(weight[hidden : 2 * hidden])
    nn.init.xavier_uniform_(model.head.weight)
    nn.init.zeros_(model.head.bias)
