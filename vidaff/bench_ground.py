"""Speed and precision of the grounding network; ``scripts/bench/ground.py`` prints what is measured here.

Weights are random: time does not depend on them. What bfloat16 does to a heat map does, by how peaked the map is, so it
is measured twice: with the weights as they start, whose maps are nearly flat, and with logits as far apart as
those of trained networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

from vidaff.bench import Row
from vidaff.models.image import GrounderSettings, build_grounder
from vidaff.models.image.bfloat16 import to_bfloat16
from vidaff.models.image.heatmaps import to_heatmaps

SIDE = 224
PEAKED = 3.0
"""Standard deviation of the logits of a peaked map: its highest pixel has hundreds of times the mean."""
QUERIES = 10


def run(
    *, repeats: int = 10, device: str = "cpu", settings: GrounderSettings | None = None, compiled: bool = False
) -> list[Row]:
    """All measurements of one device, as rows.

    Args:
        repeats: timed rounds; in each every variant has its turn, so that other programs disturb all of them alike.
        device: ``cpu`` or ``cuda``.
        settings: of the network; default: the paper's, 112.5 million parameters.
        compiled: also measure ``torch.compile`` of the network under bf16 autocast, which takes minutes.
    """
    torch.manual_seed(0)
    model: Any = build_grounder(settings).eval().requires_grad_(False).to(device)
    images = torch.randn(1, 3, SIDE, SIDE, device=device)
    text = torch.randn(1, QUERIES, model.verb_fuser.norm.weight.numel(), device=device)
    low: Any = to_bfloat16(model)
    variants: dict[str, Callable[[], Any]] = {
        "fp32, contiguous": lambda: model(images, text[:, :1]),
        "bf16, channels last": lambda: low(images, text[:, :1]),
        f"fp32, {QUERIES} queries": lambda: model(images, text),
        f"bf16, {QUERIES} queries": lambda: low(images, text),
    }
    if compiled:
        variants["bf16 autocast, compiled"] = _compiled(model, images, text[:, :1], device)
    if device == "cuda":
        variants["bf16, CUDA graph"] = _graphed(low, images, text[:, :1])
    with torch.inference_mode():
        seconds = interleaved(variants, repeats)
    return _rows(seconds, device) + precision_rows(model, images, text[:, :1], device)


def interleaved(variants: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each variant over rounds in which all have their turn, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(2 + repeats):
        for name, step in variants.items():
            _wait()
            started = time.perf_counter()
            step()
            _wait()
            if index >= 2:
                times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


@torch.inference_mode()
def precision_rows(model: Any, images: torch.Tensor, text: torch.Tensor, device: str) -> list[Row]:
    """KL divergence between the heat maps in float32 and in bfloat16, of flat and of peaked maps."""
    rows = []
    last = model.pred_decoder.output_hypernetworks_mlp.layers[-1]
    for what, spread in (("weights as they start", None), ("peaked map", PEAKED)):
        if spread is not None:
            scale = spread / model(images, text).std()
            last.weight.mul_(scale)
            last.bias.mul_(scale)
        exact, low = (to_heatmaps(net(images, text), (SIDE, SIDE)).double() for net in (model, to_bfloat16(model)))
        divergence = float((exact * (exact / low).log()).sum())
        peak = float(exact.max() * SIDE * SIDE)
        rows.append(
            Row(f"KLD of bf16 from fp32, {what}", device, f"{divergence:.1e}", f"peak {peak:.0f} times the mean")
        )
    return rows


def _rows(seconds: Mapping[str, float], device: str) -> list[Row]:
    base, names = seconds["fp32, contiguous"], list(seconds)
    rows = []
    for name in names:
        remark = "" if name == names[0] else f"{base / seconds[name]:.2f} times as fast as fp32"
        if name.endswith("queries"):
            one = seconds["bf16, channels last" if name.startswith("bf16") else names[0]]
            remark = f"{seconds[name] / one:.2f} times one query"
        rows.append(Row(f"224x224, batch 1: {name}", device, f"{seconds[name] * 1000:.1f} ms", remark))
    return rows


def _compiled(model: Any, images: torch.Tensor, text: torch.Tensor, device: str) -> Callable[[], Any]:
    fast = torch.compile(model)

    def step() -> Any:
        with torch.autocast(device, torch.bfloat16):
            return fast(images, text)

    return step


def _graphed(model: Any, images: torch.Tensor, text: torch.Tensor) -> Callable[[], Any]:
    """One launch for all kernels; at batch 1 the launches take longer than the work."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(3):
            model(images, text)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        model(images, text)
    replay: Callable[[], Any] = graph.replay
    return replay


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
