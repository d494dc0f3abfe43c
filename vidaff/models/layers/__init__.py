"""Layers shared by the models."""

from vidaff.models.layers.conv_lstm import ConvLSTMLayer as ConvLSTMLayer
from vidaff.models.layers.vgg import VGGEncoder as VGGEncoder

__all__ = ["ConvLSTMLayer", "VGGEncoder"]
