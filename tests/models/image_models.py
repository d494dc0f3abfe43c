"""Tiny networks of the image branch, and tiny published models on disk, for tests."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch
from torch import nn

from vidaff.models.image import GrounderSettings, build_grounder
from vidaff.models.image.clip_vision import ClipVisionEncoder

SIZES = {
    "dim": 32,
    "clip": {"width": 24, "layers": 2, "heads": 3, "patch": 8, "grid": 4},
    "fuser": {"depth": 2, "heads": 4, "grid": 4},
    "decoder": {"mlp_dim": 48},
    "exo_hidden": 16,
    "num_affordances": 5,
}
WORDS = ("cut", "with", "hold", "knife", "blade")


def tiny_settings(**changes) -> GrounderSettings:
    return GrounderSettings.model_validate({**SIZES, **changes})


def tiny_network(**changes):
    torch.manual_seed(0)
    return build_grounder(tiny_settings(**changes)).eval()


def tiny_clip(**changes):
    """A ``CLIPModel`` of transformers with random weights, heads 8 channels wide."""
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
        "hidden_act": "quick_gelu", **changes,
    }  # fmt: skip
    size = len(tiny_vocabulary())
    text = {**tower, "vocab_size": size, "bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    text["max_position_embeddings"] = 16
    vision = {**tower, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # fresh biases and norms are all zeros and ones, which hide mistakes
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def tiny_vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def save_tokenizer(folder: Path) -> Path:
    from transformers import CLIPTokenizer

    CLIPTokenizer(vocab=tiny_vocabulary(), merges=[]).save_pretrained(folder)
    return folder


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * 0.2)
        self.in_proj_bias = nn.Parameter(torch.randn(3 * width) * 0.2)
        self.out_proj = nn.Linear(width, width)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = _Attention(width)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)


class _Transformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(_Block(width), _Block(width))


class OpenAiClip(nn.Module):
    """The names and shapes of OpenAI's archives; its forward only exists so that it can be traced."""

    def __init__(self) -> None:
        super().__init__()
        size = len(tiny_vocabulary())
        self.visual = ClipVisionEncoder(32, width=24, layers=2, heads=3, patch=8, grid=4)
        self.transformer = _Transformer(24)
        self.token_embedding = nn.Embedding(size, 24)
        self.positional_embedding = nn.Parameter(torch.randn(16, 24))
        self.ln_final = nn.LayerNorm(24)
        self.text_projection = nn.Parameter(torch.randn(24, 32))
        self.logit_scale = nn.Parameter(torch.ones([]))
        self.register_buffer("vocab_size", torch.tensor(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.logit_scale


def save_archive(path: Path, *, half: bool = False) -> OpenAiClip:
    """A TorchScript archive like OpenAI's, as torch itself writes it."""
    torch.manual_seed(1)
    model = OpenAiClip().eval()
    if half:
        model.half()
    torch.jit.save(torch.jit.trace(model, torch.ones(1, dtype=torch.half if half else torch.float)), path)
    return model


def rewrite_entry(path: Path, suffix: str, content: bytes, *, compress: bool = False) -> None:
    """Replace the entry of a zip file whose name ends with ``suffix``."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            hit = entry.filename.endswith(suffix)
            kind = zipfile.ZIP_DEFLATED if hit and compress else zipfile.ZIP_STORED
            new.writestr(entry.filename, content if hit else old.read(entry), compress_type=kind)
    path.write_bytes(made.getvalue())
