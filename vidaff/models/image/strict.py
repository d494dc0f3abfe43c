"""Weights into a network of the same architecture, or a clear refusal."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

NAMED = 3
"""How many of the names that differ a message lists."""


def check_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Raise :class:`ValueError` naming the first weights of ``state`` that are missing, unknown or of another shape.

    ``model`` may be on the ``meta`` device.
    """
    expected = model.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    if wrong:
        rest = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ValueError(f"weights of another architecture: {'; '.join(wrong[:NAMED])}{rest}")


def load_strict(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put copies of ``state`` into ``model``, which may be on the ``meta`` device, as float32.

    Raises :class:`ValueError` for what :func:`check_state` refuses, and for numbers that are not finite.
    """
    check_state(model, state)
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} holds {tensor.dtype}, not floating-point numbers")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds numbers that are not finite; did its training diverge?")
    copies = {name: tensor.detach().to(torch.float32, copy=True).contiguous() for name, tensor in state.items()}
    model.load_state_dict(copies, assign=True)
