"""The friendly predictor: NumPy frames in, affordances out.

Worked example, a 640x480 RGB-D stream and a model made for 64x64 inputs::

    segmenter = VideoSegmenter.from_pretrained("small")
    for rgb, depth in camera:                    # (480, 640, 3) uint8, (480, 640) uint16 millimetres
        result = segmenter.step(rgb, depth)
        result.labels                            # (480, 640) uint8, 0..8 affordances, 9 background
        result.probs                             # (10, 64, 64) float32, sums to 1 over the classes
        result.action, result.action_probs       # "lift", (9,) float32
        result.attention                         # (8, 8) float32 in 0..1
    segmenter.reset()                            # before the next clip
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin

from vidaff.config import Recipe
from vidaff.datasets.geometry import Window
from vidaff.errors import VidaffError
from vidaff.flow3d import METHODS, Intrinsics, SceneFlow, pack_flow
from vidaff.frames import FrameError, check_depth, check_rgb, default_intrinsics, enlarge_labels, wxh
from vidaff.hub import hub_folder, is_hub_id
from vidaff.models.precision import fast_bf16_convolutions, fast_bf16_products
from vidaff.models.video import StreamState, VideoAffordanceNet, VideoOutput
from vidaff.models.video.inputs import InputCoder
from vidaff.weights import CHECKPOINT_FILES, flow_method, load_checkpoint, model_taxonomy, save_checkpoint

PRECISIONS = ("auto", "fp32", "bf16")
LARGE_NETWORK = 5_000_000
"""Parameters from which bf16 pays on a CPU."""


class MissingDepthWarning(UserWarning):
    """A model that was trained with depth runs without it."""


@dataclass(frozen=True)
class FrameResult:
    """What the model says of one frame.

    labels: (H, W) uint8 at the source's size: 0..K-1 affordances, K background; 0..8 and 9 for SOR3D-AFF.
    confidence: (H, W) float32 at the source's size: probability of the label, 0..1.
    probs: (K + 1, h, w) float32 at the model's size, softmax over the classes, background last.
    action: name of the most probable action; action_probs: (A,) float32, softmax. Models of still pictures tell none:
    empty both.
    attention: (h', w') float32 in 0..1, None for models without attention.
    """

    labels: np.ndarray
    confidence: np.ndarray
    probs: np.ndarray
    action: str
    action_probs: np.ndarray
    attention: np.ndarray | None


class VideoSegmenter(
    ModelHubMixin,
    library_name="vidaff",
    tags=["affordance", "rgb-d", "video", "image-segmentation"],
    license="mit",
    pipeline_tag="image-segmentation",
):
    """Segments affordances and recognises the action, frame by frame, in constant memory.

    Args:
        model: the network, its weights loaded.
        recipe: how it was made; decides input size, depth and flow.
        info: whatever the checkpoint says of itself, kept for :meth:`save_pretrained`.
        device: "auto" (a GPU if there is one), "cpu", "cuda", ...
        precision: "fp32", "bf16", or "auto": whichever is faster here, see :func:`pick_precision`.
        intrinsics: camera of the frames handed to :meth:`step`; default: a 60-degree horizontal field of view.
        size: input (height, width) other than the recipe's; the network takes any size from 8x8 up.
        assumed_depth_m: distance at which 2D motion is lifted when an RGB-D model gets no depth.

    Frames of any size are accepted; they are resized to the model's input as in training (colour by area, depth by
    nearest pixel), scene flow is computed there, and the result is enlarged again. ``taxonomy`` has the names and
    colours of the classes.
    """

    # The mixin would deep-copy constructor arguments into a second config; ours is written with the weights.
    _hub_mixin_config: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(
        self,
        model: VideoAffordanceNet,
        recipe: Recipe,
        info: dict[str, Any] | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        intrinsics: Intrinsics | None = None,
        size: tuple[int, int] | None = None,
        assumed_depth_m: float = 0.6,
    ) -> None:
        self.recipe = recipe
        self.info = dict(info or {})
        self.taxonomy = model_taxonomy(recipe, self.info)
        if self.flow_method not in METHODS:
            raise VidaffError(f"flow method {self.flow_method!r} is not known here; known: {', '.join(METHODS)}")
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device, sum(p.numel() for p in model.parameters()))
        self.size = _checked_size(size or recipe.input.size)
        self.assumed_depth_m = assumed_depth_m
        self._model = model.eval().to(self.device)
        self._fast = self._converted(self._model)
        self._coder = InputCoder(recipe.input, recipe.model).to(self.device)
        self._intrinsics = intrinsics
        self.reset()

    # -- loading and saving ------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **options: Any,
    ) -> VideoSegmenter:
        """Load a checkpoint: a folder or file, a shipped name ("small"), or a Hugging Face hub id ("owner/name").

        ``options`` are those of the constructor. Nothing is downloaded for local checkpoints; of a hub repository
        only ``config.json`` and ``model.safetensors`` are fetched, once: ``force_download`` looks for newer ones.

        Raises:
            VidaffError: nothing of that name, a damaged file, or one that could run code when loaded.
        """
        source = str(pretrained_model_name_or_path)
        if not Path(source).exists() and is_hub_id(source):
            source = hub_folder(
                source, CHECKPOINT_FILES, revision=revision, cache_dir=cache_dir, token=token,
                force_download=force_download, local_files_only=local_files_only,
            )  # fmt: skip
        checkpoint = load_checkpoint(source)
        return cls(checkpoint.model, checkpoint.recipe, checkpoint.info, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_checkpoint(save_directory, self._model, self.recipe, self.info)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Model card with the sizes, the recipe and the results stored in the checkpoint."""
        from vidaff.model_card import model_card_text

        metadata = self._hub_mixin_info.model_card_data.to_yaml()
        return ModelCard(model_card_text(self._model, self.recipe, self.info, metadata=metadata))

    # -- the camera --------------------------------------------------------------------------------------------------

    @property
    def needs_depth(self) -> bool:
        """Whether the model was made for RGB-D input."""
        return self.recipe.model.depth

    @property
    def tells_actions(self) -> bool:
        """Whether the model has an action head."""
        return self.recipe.model.num_actions > 0

    @property
    def remembers(self) -> bool:
        """Whether earlier frames matter; a model trained on single frames never learned to remember."""
        return self.recipe.train.clip_length > 1

    @property
    def flow_method(self) -> str:
        """Scene flow method of the second stream: "none", "dis2d" or the one of the training data."""
        return flow_method(self.recipe, self.info)

    @property
    def intrinsics(self) -> Intrinsics | None:
        """Camera of the source frames, None while the default is assumed. Setting it starts a new clip."""
        return self._intrinsics

    @intrinsics.setter
    def intrinsics(self, value: Intrinsics | None) -> None:
        self._intrinsics = value
        self.reset()

    # -- running -----------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget all earlier frames: the next :meth:`step` starts a new clip."""
        self._state: StreamState | None = None
        self._flow: SceneFlow | None = None
        self._flow_has_depth = False
        self._source_size: tuple[int, int] | None = None

    def step(self, rgb: np.ndarray, depth: np.ndarray | None = None) -> FrameResult:
        """Take the next frame of a stream.

        Args:
            rgb: (H, W, 3) uint8 RGB, any size that stays the same until :meth:`reset`.
            depth: (H, W) on the same pixel grid; integers are millimetres, floats metres; 0, NaN and infinite mean
                missing. Ignored by RGB models. Without it an RGB-D model sees missing depth, and its flow is the 2D
                motion lifted at ``assumed_depth_m`` (one :class:`MissingDepthWarning`).

        Raises:
            FrameError: wrong type, shape or unit, or another size than the frame before.
        """
        window, small, depth_m = self._prepare(rgb, depth)
        if self._source_size not in (None, rgb.shape[:2]):
            raise FrameError(
                f"rgb: the stream began with frames of {wxh(self._source_size)}, got {wxh(rgb.shape[:2])}; "
                "call reset() before another clip"
            )
        flow = self._scene_flow(window, small, depth_m)
        inputs = self._inputs(small, depth_m, flow)
        with self._mode():
            output, state = self._fast.step(*inputs, self._state)
        self._state = state if self.remembers else None
        self._source_size = (rgb.shape[0], rgb.shape[1])
        return self._result(output, self._source_size)

    def segment_image(self, rgb: np.ndarray, depth: np.ndarray | None = None) -> FrameResult:
        """Segment a single picture: a clip of length one with zero flow. The stream's memory is not touched.

        Arguments and errors as in :meth:`step`. Source: Thermos et al., ICASSP 2020, section 4.2 (static image).
        """
        _, small, depth_m = self._prepare(rgb, depth)
        with self._mode():
            output, _ = self._fast.step(*self._inputs(small, depth_m, None), None)
        return self._result(output, (rgb.shape[0], rgb.shape[1]))

    def _prepare(self, rgb: np.ndarray, depth: np.ndarray | None) -> tuple[Window, np.ndarray, np.ndarray | None]:
        """Check a frame and bring it to the model's size: the window, (h, w, 3) uint8, (h, w) float32 metres."""
        check_rgb(rgb)
        height, width = rgb.shape[:2]
        window = Window(0, 0, height, width, self.size)
        metres = None
        if depth is not None and self.needs_depth:
            metres = window.nearest(check_depth(depth, (height, width)))
        if self.needs_depth and depth is None and not self._warned:
            self._warned = True
            warnings.warn("this model was trained with depth and runs without it", MissingDepthWarning, stacklevel=3)
        return window, window.colours(rgb), metres

    _warned = False

    def _scene_flow(self, window: Window, rgb: np.ndarray, depth_m: np.ndarray | None) -> np.ndarray | None:
        """Packed flow (h, w, 3) int16 of the current frame, None for single-stream models."""
        if self.flow_method == "none":
            return None
        if self._flow is None or self._flow_has_depth != (depth_m is not None):
            # Depth that comes or goes would look like a jump towards the camera: motion starts afresh.
            camera = self._intrinsics or default_intrinsics(window.height, window.width)
            self._flow = SceneFlow(window.intrinsics(camera), self.flow_method)
            self._flow_has_depth = depth_m is not None
        if depth_m is None and self._flow.needs_depth:
            depth_m = np.full(self.size, self.assumed_depth_m, np.float32)
        flow, valid = self._flow.step(rgb, depth_m)
        return pack_flow(flow, valid)

    def _inputs(
        self, rgb: np.ndarray, depth_m: np.ndarray | None, flow: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Network inputs (1, C, h, w) and (1, 3, h, w) or None, in the memory order the convolutions like."""
        millimetres = None if depth_m is None else self._tensor(np.rint(depth_m * 1000))
        packed = None if flow is None else self._tensor(flow)
        rgbd, coded = self._coder(self._tensor(rgb), millimetres, packed, size=self.size)
        frames = [None if x is None else x[0].contiguous(memory_format=torch.channels_last) for x in (rgbd, coded)]
        assert frames[0] is not None  # for the type checker
        return frames[0], frames[1]

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))[None, None].to(self.device)

    @contextmanager
    def _mode(self) -> Iterator[None]:
        low = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            yield

    def _converted(self, model: VideoAffordanceNet) -> VideoAffordanceNet:
        """The network as it runs: channels last, and for bf16 a copy whose weights are cast once, not every frame."""
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.precision == "fp32":
            return model
        import copy

        return copy.deepcopy(model).to_bfloat16()

    def _result(self, output: VideoOutput, size: tuple[int, int]) -> FrameResult:
        probs = output.logits[0].float().softmax(0).cpu().numpy()
        actions = output.action_logits[0].float().softmax(0).cpu().numpy()
        attention = None if output.attention is None else output.attention[0, 0].float().cpu().numpy()
        labels, confidence = enlarge_labels(probs, size)
        action = self.taxonomy.affordances[int(actions.argmax())] if self.tells_actions else ""
        return FrameResult(labels, confidence, probs, action, actions, attention)


def pick_device(name: str) -> torch.device:
    """Device by name; "auto" is a GPU if there is one. Raises :class:`VidaffError` when it cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VidaffError(f"device {name!r} cannot be used here ({reason}); try cpu") from error
    return device


def pick_precision(name: str, device: torch.device, parameters: int, *, products: bool = False) -> str:
    """Resolve "auto" for a network of so many parameters: bf16 where it is faster, else fp32.

    That is on GPUs, and on processors with bf16 instructions that help (:mod:`vidaff.models.precision`) if the network
    is large: for small ones the conversions between its layers cost what the faster layers gain. ``products``: the
    network is made of matrix products, as transformers are, not of convolutions.
    """
    if name not in PRECISIONS:
        raise VidaffError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    fast = fast_bf16_products(device) if products else fast_bf16_convolutions(device)
    return "bf16" if fast and (device.type == "cuda" or parameters >= LARGE_NETWORK) else "fp32"


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < 8:
        raise VidaffError(f"size: at least 8x8 pixels are needed, got {wxh(size)}")
    return int(size[0]), int(size[1])
