"""Speed and memory of the video branch; ``scripts/bench/video.py`` prints what is measured here.

Nothing here needs Open3D or PyAV, so that it runs on a bare machine with a GPU. Weights are random unless a checkpoint
is given; time does not depend on them.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from vidaff.config import ModelSettings, Recipe, load_recipe
from vidaff.models.video import VideoAffordanceNet, build_video_model
from vidaff.models.video.inputs import InputCoder
from vidaff.training.losses import segmentation_nll


@dataclass(frozen=True)
class Row:
    """One line of the report: what, on which device, the measured value with its unit, and a remark."""

    what: str
    device: str
    value: str
    remark: str = ""


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, under a line that says what machine this was."""
    head = f"{machine()}\n\n| what | device | measured | remark |\n|---|---|---|---|\n"
    return head + "".join(f"| {row.what} | {row.device} | {row.value} | {row.remark} |\n" for row in rows)


def machine() -> str:
    """Processor, threads, GPU and torch version in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


def timed(run: Callable[[], Any], repeats: int, *, warm_up: int = 1) -> float:
    """Median seconds of ``run`` over ``repeats``, after ``warm_up`` runs; waits for the GPU around each."""
    times = []
    for index in range(warm_up + repeats):
        _wait()
        started = time.perf_counter()
        run()
        _wait()
        if index >= warm_up:
            times.append(time.perf_counter() - started)
    return median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def full_recipe() -> Recipe:
    """The paper's full-size network at 300x300 (Thermos et al., ICASSP 2020, section 2)."""
    return Recipe(name="full", model=ModelSettings())


def random_clip(recipe: Recipe, batch: int, frames: int, device: str, seed: int = 0) -> tuple[Any, Any]:
    """Coded inputs (B, T, 4, H, W) and (B, T, 3, H, W) of a smooth random scene that moves to the right."""
    rng = np.random.default_rng(seed)
    height, width = recipe.input.size
    coarse = torch.from_numpy(rng.uniform(0, 255, (batch, 3, 12, 12)).astype(np.float32))
    picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    rgb = torch.stack([picture.roll(4 * t, -1) for t in range(frames)], 1).movedim(2, -1).byte()
    depth = (700 + rgb[..., 0].int()).clamp(min=1)
    flow = torch.zeros(*rgb.shape, dtype=torch.int16)
    flow[..., 0] = 80
    coder = InputCoder(recipe.input, recipe.model).to(device)
    rgbd, coded = coder(rgb.to(device), depth.to(device), flow.to(device))
    return rgbd, coded


def streaming(recipe: Recipe, model: VideoAffordanceNet, device: str, repeats: int, *, name: str) -> list[Row]:
    """Network step: contiguous fp32 against bf16 channels-last in one run, with the agreement of their labels."""
    rgbd, flow = random_clip(recipe, 1, repeats + 1, device)
    labels, seconds = [], []
    for low in (False, True):
        network = _converted(model, device, low)
        step = _Stream(network, rgbd, flow, low)
        seconds.append(timed(step, repeats))
        labels.append(torch.stack(step.labels))
    agree = (labels[0] == labels[1]).float().mean().item()
    rows = [
        Row(f"{name}: step, fp32 contiguous", device, _ms(seconds[0])),
        Row(
            f"{name}: step, bf16 channels-last", device, _ms(seconds[1]),
            f"{seconds[0] / seconds[1]:.1f} times faster, {agree:.2%} of labels agree",
        ),
    ]  # fmt: skip
    if device == "cuda":
        rows.append(Row(f"{name}: step, bf16, CUDA graph", device, _ms(_graphed(model, rgbd, flow, repeats))))
    return rows


def _converted(model: VideoAffordanceNet, device: str, low: bool) -> VideoAffordanceNet:
    import copy

    network = copy.deepcopy(model).eval().to(device)
    if low:
        network = network.to_bfloat16().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class _Stream:
    """Callable that runs the next frame of a coded clip; labels are kept for comparison."""

    def __init__(self, model: VideoAffordanceNet, rgbd: torch.Tensor, flow: torch.Tensor | None, low: bool) -> None:
        self.rgbd, self.flow = _frames(rgbd, low), None if flow is None else _frames(flow, low)
        self.model, self.low = model, low
        self.state: Any = None
        self.labels: list[torch.Tensor] = []

    def __call__(self) -> None:
        now = len(self.labels) % len(self.rgbd)
        flow = None if self.flow is None else self.flow[now]
        with torch.inference_mode(), torch.autocast(self.rgbd[now].device.type, torch.bfloat16, enabled=self.low):
            output, self.state = self.model.step(self.rgbd[now], flow, self.state)
        self.labels.append(output.logits.argmax(1).cpu())


def _frames(clip: torch.Tensor, low: bool) -> list[torch.Tensor]:
    """(1, T, C, H, W) -> T frames (1, C, H, W), in the memory order under test."""
    layout = torch.channels_last if low else torch.contiguous_format
    return [frame.contiguous(memory_format=layout) for frame in clip.unbind(1)]


def _graphed(model: VideoAffordanceNet, rgbd: torch.Tensor, flow: torch.Tensor | None, repeats: int) -> float:
    """Seconds of a step replayed as a CUDA graph: the kernels without the time to launch them."""
    network = _converted(model, "cuda", True)
    frame, motion = _frames(rgbd, True)[0], None if flow is None else _frames(flow, True)[0]
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            _, state = network.step(frame, motion, None)
            for _ in range(3):
                network.step(frame, motion, state)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            _, after = network.step(frame, motion, state)
            for old, new in zip(_tensors(state), _tensors(after), strict=True):
                old.copy_(new)
    return timed(graph.replay, max(repeats, 20), warm_up=3)


def _tensors(state: Any) -> list[torch.Tensor]:
    return [tensor for layer in state for tensor in layer]


def training(recipe: Recipe, device: str, repeats: int, *, batch: int, frames: int, bf16: bool) -> dict[str, float]:
    """Seconds and peak memory (MiB) of an optimiser step (forward, both losses, backward, Adam) on a random clip."""
    torch.manual_seed(0)
    model = build_video_model(recipe.model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.train.lr)
    rgbd, flow = random_clip(recipe, batch, frames, device)
    mask = torch.randint(0, recipe.model.num_classes, (batch, *recipe.input.size), device=device)
    action = torch.randint(0, recipe.model.num_actions, (batch,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            output = model(rgbd, flow)
            seg = segmentation_nll(output.logits, mask, None)
            loss = 0.2 * seg + 0.8 * torch.nn.functional.cross_entropy(output.action_logits, action)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = timed(step, repeats)
    return {"seconds": seconds, "peak_mib": _peak_mib(device)}


def _peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def training_row(
    recipe: Recipe, device: str, repeats: int, *, batch: int, frames: int, bf16: bool, name: str
) -> tuple[Row, float]:
    """:func:`training` in a process of its own, whose peak memory is its own; also frames consumed a second."""
    arguments: dict[str, Any] = {"batch": batch, "frames": frames, "bf16": bf16}
    if device == "cuda":
        found = training(recipe, device, repeats, **arguments)
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(_training_process, recipe, repeats, torch.get_num_threads(), arguments).result()
    rate = batch * frames / found["seconds"]
    remark = f"{rate:.0f} frames/s, peak {found['peak_mib']:.0f} MiB"
    kind = "bf16" if bf16 else "fp32"
    return Row(f"{name}: training step, {batch} x {frames} frames, {kind}", device, _ms(found["seconds"]), remark), rate


def _training_process(recipe: Recipe, repeats: int, threads: int, arguments: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(threads)
    return training(recipe, "cpu", repeats, **arguments)


def predictor(recipe: Recipe, model: VideoAffordanceNet, device: str, frames: int, *, name: str) -> list[Row]:
    """Frames a second of the whole chain on 640x480 RGB-D: resizing, flow, network, enlarging; then with overlay."""
    from vidaff.predict import VideoSegmenter
    from vidaff.visualize import OverlayPainter

    segmenter = VideoSegmenter(model, recipe, device=device)
    painter = OverlayPainter((480, 640))
    rng = np.random.default_rng(0)
    picture = np.repeat(np.repeat(rng.integers(0, 255, (48, 64, 3), np.uint8), 10, 0), 10, 1)
    depth = np.full((480, 640), 700, np.uint16)
    moving = [np.roll(picture, 3 * t, 1) for t in range(8)]
    count = iter(range(10**9))

    def step(draw: bool) -> None:
        rgb = moving[next(count) % len(moving)]
        result = segmenter.step(rgb, depth)
        if draw:
            painter.paint(
                rgb, result.labels, result.action_probs, confidence=result.confidence, attention=result.attention
            )

    rows = []
    for draw, what in ((False, "flow and network"), (True, "flow, network and overlay")):
        seconds = timed(lambda draw=draw: step(draw), frames, warm_up=3)  # type: ignore[misc]
        rows.append(Row(f"{name}: 640x480 RGB-D, {what}", device, f"{1 / seconds:.1f} frames/s", segmenter.precision))
    return rows


def loader(data: Path | None, size: tuple[int, int], clips: int, consumed: float) -> Row:
    """Frames a second read from a prepared file (a made-up one without ``data``) beside what training consumes."""
    from vidaff.datasets import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        path = data or made_up_file(Path(folder) / "clips.h5", size, clips)
        dataset = load_dataset("sor3d-aff", path, "train")
        frames, started = 0, time.perf_counter()
        for index in range(min(clips, len(dataset))):
            frames += len(dataset.read(index).rgb)
        rate = frames / (time.perf_counter() - started)
    origin = "made-up clips" if data is None else data.name
    return Row(
        f"loader: one process, {origin}", "cpu", f"{rate:.0f} frames/s",
        f"{rate / consumed:.1f} times what the faster small training consumes" if consumed else "",
    )  # fmt: skip


def made_up_file(path: Path, size: tuple[int, int], clips: int, frames: int = 10) -> Path:
    """A prepared file of noisy gradients: about as hard to compress as real pictures."""
    import h5py

    from vidaff.datasets.prepared import FORMAT, VERSION
    from vidaff.datasets.taxonomy import CLASSES

    rng = np.random.default_rng(0)
    base = np.linspace(0, 200, size[1])[None, None, :, None]
    rgb = (base + rng.integers(0, 30, (frames, *size, 3))).astype(np.uint8)
    depth = (rgb[..., 0].astype(np.uint16) + 600).astype(np.uint16)
    flow = rng.integers(-20, 20, (frames, *size, 3)).astype(np.int16)
    head = {"format": FORMAT, "version": VERSION, "dataset": "sor3d-aff", "height": size[0], "width": size[1]}
    with h5py.File(path, "w") as file:
        file.attrs.update({**head, "fps": 10.0, "classes": json.dumps(CLASSES), "settings": "{}"})
        for index in range(clips):
            group = file.create_group(f"train/Subject1_cut_{index}_knife")
            group.attrs.update({"action": 0, "object": "knife", "subject": "Subject1", "fps": 10.0})
            for key, array in (("rgb", rgb), ("depth", depth), ("flow", flow)):
                group.create_dataset(key, data=array, chunks=(1, *array.shape[1:]), compression="lzf", shuffle=True)
            group.create_dataset("mask", data=np.full(size, 9, np.uint8))
    return path


def run(
    *, repeats: int = 3, full: bool = True, small: bool = True, checkpoint: str | None = None,
    data: Path | None = None, devices: tuple[str, ...] = ("cpu",),
) -> list[Row]:  # fmt: skip
    """All measurements, as rows. ``checkpoint`` replaces the random small model; ``data`` the made-up file."""
    rows: list[Row] = []
    torch.manual_seed(0)
    for device in devices:
        if full:
            rows += _full(device, repeats)
        if small:
            rows += _small(device, repeats, checkpoint, data)
    return rows


def _full(device: str, repeats: int) -> list[Row]:
    recipe = full_recipe()
    rows = streaming(recipe, build_video_model(recipe.model), device, repeats, name="full size")
    # A CPU gets one short clip once: even that is 100 times the work of a small step.
    batch, frames, times = (2, recipe.train.clip_length, repeats) if device == "cuda" else (1, 2, 1)
    return rows + [
        training_row(recipe, device, times, batch=batch, frames=frames, bf16=bf16, name="full size")[0]
        for bf16 in (False, True)
    ]


def _small(device: str, repeats: int, checkpoint: str | None, data: Path | None) -> list[Row]:
    from vidaff.weights import load_checkpoint

    if checkpoint is None:
        recipe = load_recipe("small")
        model = build_video_model(recipe.model)
    else:
        loaded = load_checkpoint(checkpoint)
        recipe, model = loaded.recipe, loaded.model
    rows = streaming(recipe, model, device, 10 * repeats, name="small")
    batch, frames, consumed = recipe.train.batch_size, recipe.train.clip_length, 0.0
    for bf16 in (False, True):
        row, rate = training_row(recipe, device, repeats, batch=batch, frames=frames, bf16=bf16, name="small")
        rows, consumed = [*rows, row], max(consumed, rate)
    rows += predictor(recipe, model, device, 10 * repeats, name="small")
    return [*rows, loader(data, recipe.input.size, 20 * repeats, consumed)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
