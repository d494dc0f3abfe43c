"""Convolutional LSTM: one fused convolution gives all four gates."""

from __future__ import annotations

import torch
from torch import nn

LSTMState = tuple[torch.Tensor, torch.Tensor]
"""Hidden map ``h`` and cell map ``c``, both (B, hidden, h, w)."""


class ConvLSTMLayer(nn.Module):
    """A ConvLSTM without peepholes (Shi et al., NeurIPS 2015, without the Hadamard terms).

    Deviation from the authors' release: its peephole tensors are zeros that are never learned, so they are left
    out; and its state is dropped after every frame, whereas here it runs through the clip.

    The gates' convolution over ``[x, h]`` is held as two weights, because the input's half has no recurrence and
    runs over all frames as one batch.
    """

    def __init__(self, in_channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Conv2d(in_channels, 4 * hidden, kernel, padding=kernel // 2)
        self.from_hidden = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)

    def initial_state(self, like: torch.Tensor, batch: int) -> LSTMState:
        """Zero state (batch, hidden, h, w) for maps ``like`` (any, any, h, w), on their device."""
        shape = (batch, self.hidden, *like.shape[-2:])
        zeros = torch.zeros(shape, device=like.device, dtype=torch.float32)
        return zeros, zeros.clone()

    def forward(
        self, x: torch.Tensor, batch: int, state: LSTMState | None = None
    ) -> tuple[list[torch.Tensor], LSTMState]:
        """Run over a clip.

        Args:
            x: maps of all frames, time-major (T * B, C, h, w).
            batch: B.
            state: state before the first frame, zeros when None.

        Returns:
            The hidden maps (B, hidden, h, w) of every frame in order, and the state after the last one.
        """
        gates_x = self.from_input(x)  # (T * B, 4 * hidden, h, w)
        first = state is None
        h, c = state if state is not None else self.initial_state(x, batch)
        outputs = []
        for gates in gates_x.split(batch):  # (B, 4 * hidden, h, w)
            # The zero state of the first frame adds nothing: skip its convolution.
            summed = gates if first else gates + self.from_hidden(h)
            h, c = self._cell(summed, c)
            outputs.append(h)
            first = False
        return outputs, (h, c)

    @staticmethod
    def _cell(gates: torch.Tensor, c: torch.Tensor) -> LSTMState:
        # The cell map accumulates over hundreds of frames in a stream, so it stays in float32 under autocast.
        i, f, g, o = gates.float().chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
