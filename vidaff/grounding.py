"""The friendly grounder: a picture and a word in, a heat map out.

Worked example, a picture of 640x480 pixels::

    grounder = AffordanceGrounder.from_pretrained("runs/agd20k/best")
    heat = grounder("cup.jpg", "hold")                        # (480, 640) float32, sums to 1
    picture = grounder.look("cup.jpg")                        # the expensive half, once
    for answer in grounder.ask(picture, ["hold", "grasp"]):   # the cheap half, for many words
        answer.heatmap, answer.word.nearest                   # (480, 640) float32, "hold"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from vidaff.datasets.agd20k.classes import AFFORDANCES
from vidaff.datasets.agd20k.pixels import network_input
from vidaff.errors import VidaffError, first_line
from vidaff.frames import FrameError, check_rgb
from vidaff.grounding_words import Vocabulary, Word, vocabulary
from vidaff.hub import hub_folder, is_hub_id
from vidaff.io import check_pixels, read_image
from vidaff.models.image import GrounderSettings, GroundingNet, ImageFeatures, load_grounder
from vidaff.models.image.bfloat16 import to_bfloat16
from vidaff.models.image.heatmaps import to_heatmaps
from vidaff.models.image.recipe import PictureInput
from vidaff.models.image.text_table import FILE as TEXT_FILE
from vidaff.models.image.text_table import TextSettings, TextTable
from vidaff.predict import pick_device, pick_precision
from vidaff.weights import CHECKPOINT_FILES

if TYPE_CHECKING:
    from PIL.Image import Image

QUERIES = 16
"""Words that pass through the network at once; more come in turns, so that memory stays bounded."""
LARGEST_INPUT = 4096
"""Pixels a side; a damaged checkpoint must not ask for all memory."""


@dataclass(frozen=True)
class Seen:
    """What the network saw in a picture: its features, and the picture's ``size`` (height, width) in pixels."""

    features: ImageFeatures
    size: tuple[int, int]


@dataclass(frozen=True)
class Grounding:
    """The answer to a query: ``heatmap`` (H, W) float32 >= 0 at the picture's size, sums to 1; and the ``word``."""

    heatmap: np.ndarray
    word: Word


class AffordanceGrounder:
    """Tells where in a picture an action is done.

    Args:
        model: the network, its weights loaded.
        settings: those that made it.
        words: which text features a query has.
        info: what the checkpoint says of itself; ``input`` decides how pictures are resized and normalised.
        device: "auto" (a GPU if there is one), "cpu", "cuda", ...
        precision: "fp32", "bf16", or "auto": whichever is faster here, see :func:`vidaff.predict.pick_precision`.

    Pictures of any size from 8x8 are resized, without keeping their aspect, to the size that the network was trained
    with (224x224 as a rule), as in the evaluation. The logits are enlarged to the picture's size before the softmax.
    """

    def __init__(
        self,
        model: GroundingNet,
        settings: GrounderSettings,
        words: Vocabulary,
        info: Mapping[str, Any] | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.settings, self.words, self.info = settings, words, dict(info or {})
        self.input = picture_input(self.info, model)
        self.device = pick_device(device)
        parameters = sum(p.numel() for p in model.parameters())
        self.precision = pick_precision(precision, self.device, parameters, products=True)
        model = model.eval().to(self.device)
        self._model: Any = to_bfloat16(model) if self.precision == "bf16" else model

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        text_model: str | Path | None = None,
        tokenizer: str | Path | None = None,
        template: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> AffordanceGrounder:
        """Load a checkpoint of ``vidaff train --dataset agd20k`` or ``vidaff convert plsp``.

        Args:
            path: its folder, or a Hugging Face hub id ("owner/name"), whose checkpoint is fetched once.
            text_model: folder or hub id of a ``CLIPModel``, or OpenAI's archive: the text tower for words that are not
                stored in the checkpoint. Without it the one that the checkpoint names is used if it is on this
                machine; it is not downloaded.
            tokenizer: folder or hub id of CLIP's tokenizer; needed with an archive, which has none.
            template: prompt for the text model, "{}" stands for the word; default: the checkpoint's.
            device: see the class.
            precision: see the class.

        Raises:
            VidaffError: nothing of that name, a damaged file, another kind of network or text model.
        """
        folder = _folder(path)
        loaded = load_grounder(folder)
        if not isinstance(loaded.model, GroundingNet):
            raise VidaffError(f"{path}: holds a refinement network, which answers no queries")
        table, stored = _text(folder)
        words = vocabulary(
            table, stored, loaded.info, loaded.settings.dim,
            text_model=None if text_model is None else str(text_model),
            tokenizer=None if tokenizer is None else str(tokenizer), template=template, folder=folder,
            default_affordances=AFFORDANCES if loaded.settings.num_affordances == len(AFFORDANCES) else (),
        )  # fmt: skip
        return cls(loaded.model, loaded.settings, words, loaded.info, device=device, precision=precision)

    @property
    def affordances(self) -> tuple[str, ...]:
        """Names of the affordances that the network learned; empty where the checkpoint does not say."""
        return self.words.affordances

    def __call__(self, image: Any, query: str) -> np.ndarray:
        """Heat map (H, W) float32, sums to 1, at the size of ``image``; arguments and errors as in :meth:`ground`."""
        return self.ground(image, [query])[0].heatmap

    def ground(self, image: Any, queries: Sequence[str]) -> list[Grounding]:
        """Answer ``queries``, in order, on one picture, which is looked at once.

        Args:
            image: path, PIL picture, or (H, W, 3) uint8 RGB array.
            queries: words such as "hold", "cut with" or "pick_up". Other words than the known affordances need a text
                tower; see :class:`vidaff.grounding_words.Word` for what is told of them.

        Raises:
            VidaffError: an unreadable picture, or a word that has no feature here. A ``ValueError``, too, for arrays of
                another type or shape.
            ValueError: an empty query, or one without a letter or digit.
        """
        words = self.words.look_up(_checked(queries))
        return list(self._answers(self.look(image), words))

    def look(self, image: Any) -> Seen:
        """The visual half: features of a picture, for any number of :meth:`ask`; arguments as in :meth:`ground`."""
        rgb = read_rgb(image)
        size = (rgb.shape[0], rgb.shape[1])
        pixels = network_input(rgb, self.input.size, self.input.mean, self.input.std)
        with torch.inference_mode():
            return Seen(self._model.encode(torch.from_numpy(pixels)[None].to(self.device)), size)

    def ask(self, seen: Seen, queries: Sequence[str]) -> Iterator[Grounding]:
        """The textual half: answer ``queries`` one by one on what :meth:`look` saw; errors as in :meth:`ground`."""
        return self._answers(seen, self.words.look_up(_checked(queries)))

    def _answers(self, seen: Seen, words: Sequence[Word]) -> Iterator[Grounding]:
        for start in range(0, len(words), QUERIES):
            part = words[start : start + QUERIES]
            with torch.inference_mode():
                text = torch.stack([word.feature for word in part])[None].to(self.device)  # (1, Q, D)
                logits = self._model.ground(seen.features, text).logits  # (1, Q, h, w)
            for number, word in enumerate(part):
                # One at a time: heat maps of photographs are large.
                yield Grounding(_heatmap(logits[:, number : number + 1], seen.size), word)


@torch.inference_mode()
def _heatmap(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    heat: np.ndarray = to_heatmaps(logits, size)[0, 0].cpu().numpy()
    return heat


def read_rgb(image: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, of a path, a PIL picture (any mode) or an RGB array.

    Transparency is dropped, grey becomes three equal colours.

    Raises:
        VidaffError: a picture that cannot be read, or is smaller than 8x8. A ``ValueError``, too, for arrays.
    """
    if isinstance(image, str | Path):
        rgb = read_image(image)
    elif isinstance(image, np.ndarray):
        rgb = image
    elif hasattr(image, "convert") and hasattr(image, "getexif"):
        rgb = _from_pil(image)
    else:
        raise FrameError(f"image: a path, a PIL picture or an RGB array is needed, got {type(image).__name__}")
    try:
        check_rgb(rgb)
    except FrameError as error:
        name = str(image) if isinstance(image, str | Path) else "image"
        raise FrameError(str(error).replace("rgb", name, 1)) from None
    return rgb


def _from_pil(image: Image) -> np.ndarray:
    from PIL import ImageOps

    check_pixels("image", image.width, image.height)
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits, which PIL would clip instead of scaling them
            grey = np.clip(np.asarray(upright).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise FrameError(f"image: cannot be decoded ({first_line(error)})") from error


def _checked(queries: Sequence[str]) -> Sequence[str]:
    if isinstance(queries, str) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"queries must be a list of texts, got {queries!r}")
    if not queries:
        raise ValueError("queries must hold at least one text")
    return queries


def _folder(path: str | Path) -> Path:
    """Folder of a checkpoint; that of a hub id is fetched, unless there is a copy."""
    source = str(path)
    if Path(source).exists() or not is_hub_id(source):
        return Path(source)
    try:
        return Path(hub_folder(source, CHECKPOINT_FILES, local_files_only=True))
    except VidaffError:
        return Path(hub_folder(source, (*CHECKPOINT_FILES, TEXT_FILE)))


def _text(folder: Path) -> tuple[TextTable | None, TextSettings | None]:
    where = folder if folder.is_dir() else folder.parent
    return TextTable.load(where) if (where / TEXT_FILE).is_file() else (None, None)


def picture_input(info: Mapping[str, Any], model: GroundingNet) -> PictureInput:
    """How pictures are brought to the network, by the checkpoint; 224x224 with CLIP's colours where it says nothing."""
    stored = info.get("input", {})
    try:
        fields = {name: stored[name] for name in PictureInput.model_fields if name in stored}
        made = PictureInput.model_validate(fields)
    except (ValidationError, TypeError) as error:
        raise VidaffError(f"the checkpoint's input settings are wrong ({first_line(error)})") from error
    patch: int = model.encoder.patch  # type: ignore[assignment]
    if made.size[0] % patch or made.size[0] > LARGEST_INPUT:
        raise VidaffError(
            f"the checkpoint's input size {made.size[0]} must be a multiple of its patch of {patch} pixels, "
            f"and at most {LARGEST_INPUT}"
        )
    return made
