"""Detectors, segmenters and the other networks of the labelling at full size, with random weights, without a download.

Time and memory do not depend on the weights, with one exception: hardly one of a segmenter's automatic masks passes its
thresholds here, so that tidying them up is not in the time. Letting all pass would say less: masks of random networks
are noise, and noise has thousands of islands.

Sizes are those of the published configurations: where transformers' default is the published one, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from vidaff.labels.settings import DetectorSettings, SegmenterSettings

if TYPE_CHECKING:
    import torch

QUERIES = ("knife blade", "knife handle")
BOXES = np.array([[100.0, 80.0, 420.0, 400.0], [20.0, 30.0, 200.0, 300.0], [300.0, 200.0, 620.0, 460.0]])
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CLIP_VOCABULARY, BERT_VOCABULARY = 49408, 30522
BATCH = 8
Task = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Many:
    """A task that does several ``pictures`` at once."""

    run: Task
    pictures: int = BATCH

    def __call__(self, image: np.ndarray) -> object:
        return self.run(image)


class Built(NamedTuple):
    """A model: how many parameters it has, and what is asked of it, each a function of a picture (H, W, 3) uint8."""

    parameters: int
    tasks: dict[str, Task]


class Model(NamedTuple):
    """A model to be built on a device: its title, and about how many GiB of memory the process takes."""

    title: str
    gib: float
    build: Callable[[str], Built]


def build_vlpart(device: str, *, precision: str) -> Built:
    """From a file as users load it, text tower included."""
    from vidaff.labels.detectors import load_detector

    with TemporaryDirectory() as folder:
        weights = Path(folder) / "vlpart.pth"
        writer = get_context("spawn").Process(target=write_vlpart, args=(weights,))
        writer.start()  # elsewhere, so that its memory does not count
        writer.join()
        clip_tokenizer(77).save_pretrained(folder)
        settings = DetectorSettings.model_validate(
            {"kind": "vlpart", "weights": str(weights), "tokenizer": folder, "precision": precision}
        )
        detector: Any = load_detector(settings, device=device)
    tasks: dict[str, Task] = {"boxes of 2 names": lambda image: detector.detect(image, QUERIES)}
    if device != "cpu":
        tasks[f"the same, {BATCH} at once"] = Many(
            lambda image: detector.detect_many([image] * BATCH, [QUERIES] * BATCH)
        )
    return Built(count(detector.net) + count(detector.texts.encoder.tower), tasks)


def write_vlpart(path: Path) -> None:
    """A checkpoint of VLPart's release with random weights: the network, and the text tower of CLIP RN50."""
    import torch

    from vidaff.labels.detectors.vlpart import VLPartNet, VLPartSettings

    torch.manual_seed(0)
    state = VLPartNet(VLPartSettings()).state_dict()
    width, tower = 512, "text_encoder."
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (CLIP_VOCABULARY, width), "positional_embedding": (77, width),
        "text_projection": (width, 1024), "ln_final.weight": (width,), "ln_final.bias": (width,),
    }  # fmt: skip
    for layer in range(12):
        block = f"transformer.resblocks.{layer}."
        for name, rows, columns in (
            ("attn.in_proj_", 3 * width, width), ("attn.out_proj.", width, width),
            ("mlp.c_fc.", 4 * width, width), ("mlp.c_proj.", width, 4 * width),
        ):  # fmt: skip
            shapes |= {f"{block}{name}weight": (rows, columns), f"{block}{name}bias": (rows,)}
        shapes |= {f"{block}ln_{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    state |= {tower + name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    torch.save({"model": state}, path)


def build_grounding_dino(device: str, *, swin: Mapping[str, Any]) -> Built:
    from transformers import BertTokenizer, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig
    from transformers import GroundingDinoImageProcessor as Pictures
    from transformers import GroundingDinoProcessor as Processor

    from vidaff.labels.detectors.grounding_dino import GroundingDino

    backbone = SwinConfig(**{"out_features": ["stage2", "stage3", "stage4"], **swin})
    model: Any = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=backbone))
    model.to(device)
    words = [f"[unused{number}]" for number in range(BERT_VOCABULARY - 4)]
    # Grounding DINO's code knows these by number.
    for number, token in {
        0: "[PAD]",
        100: "[UNK]",
        101: "[CLS]",
        102: "[SEP]",
        103: "[MASK]",
        1012: ".",
        1029: "?",
    }.items():
        words[number] = token
    with TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join([*words, "knife", "blade", "handle", "a"]))
        processor = Processor(Pictures(), BertTokenizer(str(file)))
    detector = GroundingDino(model, processor, DetectorSettings(kind="grounding-dino"))
    return Built(count(model), {"boxes of 2 names": lambda image: detector.detect(image, QUERIES)})


def build_owl(device: str) -> Built:
    """OWLv2 base, patches of 16 pixels, pictures of 960 x 960 as in the ensemble's checkpoint."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    from vidaff.labels.detectors.owlv2 import OwlV2

    model: Any = Owlv2ForObjectDetection(Owlv2Config(vision_config={"image_size": 960, "patch_size": 16}))
    model.to(device)
    processor = Owlv2Processor(Owlv2ImageProcessor(), clip_tokenizer(16))
    detector = OwlV2(model, processor, DetectorSettings(kind="owlv2"))
    return Built(count(model), {"boxes of 2 names": lambda image: detector.detect(image, QUERIES)})


def build_sam(device: str, *, size: str, precision: str = "fp32") -> Built:
    from segment_anything import sam_model_registry

    from vidaff.labels.segmenters.networks import SegmentAnything

    net = sam_model_registry[size](checkpoint=None)
    net.pixel_mean, net.pixel_std = net.pixel_mean * 0, net.pixel_std * 0 + 1
    return segmenter("sam", SegmentAnything(net.to(device)), precision)


def build_sam2(device: str, *, hiera: Mapping[str, Any], channels: list[int]) -> Built:
    from transformers import Sam2Config, Sam2Model
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    from vidaff.labels.segmenters.networks import IMAGENET_MEAN, IMAGENET_STD, TransformersSam

    vision = Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(**hiera), backbone_channel_list=channels)
    net: Any = Sam2Model(Sam2Config(vision_config=vision))
    net.to(device)
    return segmenter("sam2", TransformersSam(net, side=1024, squeeze=True, mean=IMAGENET_MEAN, std=IMAGENET_STD))


def segmenter(kind: str, network: Any, precision: str = "fp32") -> Built:
    """Masks of one box, and all masks under 8 x 8 points; both embed the picture first."""
    from vidaff.labels.segmenters.prompted import PromptedSam

    settings = SegmenterSettings.model_validate({"kind": kind, "precision": precision})
    sam = PromptedSam(kind, network, settings)
    tasks: dict[str, Task] = {
        "mask of 1 box": lambda image: sam.segment(image, BOXES[:1]),
        "8 x 8 points": sam.generate,
    }
    return Built(count(network.net), tasks)


def build_sam3(device: str) -> Built:
    from transformers import Sam3Config, Sam3Model

    from vidaff.labels.detectors.sam3 import TOKENS, Sam3

    model: Any = Sam3Model(Sam3Config())
    model.to(device)
    detector = Sam3(model, clip_tokenizer(TOKENS), DetectorSettings(kind="sam3"))
    return Built(count(model), {"boxes and masks of 2 names": lambda image: detector.segment_text(image, QUERIES)})


def build_similarity(device: str) -> Built:
    """CLIP ViT-B/16 at 224 x 224."""
    from vidaff.labels.frozen import FrozenEncoder
    from vidaff.labels.label_recipe import EncoderSettings

    encoder = FrozenEncoder(EncoderSettings(weights=None), device=device)
    return Built(count(encoder.encoder), {"features of 3 boxes": lambda image: encoder.objects(image, BOXES)})


def build_refinement(device: str) -> Built:
    """The network of recipe ``refine``: marking a picture, and training on it with its three exocentric objects."""
    import torch

    from vidaff.labels.refine_infer import Refiner
    from vidaff.labels.refine_recipe import load_refine_recipe
    from vidaff.labels.refine_train import RefineModule

    recipe = load_refine_recipe("refine", ["train.encoder_weights=null"])
    size = recipe.input.size[0]
    module = RefineModule(recipe, torch.randn(1, recipe.model.dim), steps=1, info={}).to(device)
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign,assignment]  # there is no trainer to log to
    optimiser = module.configure_optimizers()["optimizer"]
    refiner = Refiner(module.model, size=size, mean=recipe.input.mean, std=recipe.input.std, device=device)
    batch = training_batch(size, recipe.train.num_exo, device)

    def mark(image: np.ndarray) -> None:
        module.model.eval()
        refiner.probabilities(image, module.part_rows[0])

    def train(_: np.ndarray) -> None:
        module.model.train()
        module.training_step(batch, 0).backward()

    tasks: dict[str, Task] = {
        "mask of a picture": mark, "training: a picture": train,
        f"training: a step of the optimiser, once in {recipe.train.batch_size} pictures": lambda _: optimiser.step(),
    }  # fmt: skip
    return Built(count(module.model), tasks)


def training_batch(size: int, exocentric: int, device: str) -> Any:
    """One sample of the refinement's training with a batch axis."""
    import torch

    from vidaff.labels.refine_samples import RefineSample

    grid = torch.rand(1, 1, size, size).round()
    sample: dict[str, Any] = {
        "image": torch.randn(1, 3, size, size), "label": grid, "thing": grid, "box": torch.tensor([[40, 40, 180, 180]]),
        "region": torch.randn(1, 3, size, size), "exo": torch.randn(1, exocentric, 3, size, size),
        "exo_masks": torch.ones(1, exocentric, 1, size, size), "weights": torch.ones(1, exocentric),
        "pair": torch.zeros(1, dtype=torch.long),
    }  # fmt: skip
    return RefineSample(**{name: part.to(device) for name, part in sample.items()})


def clip_tokenizer(length: int) -> Any:
    """A tokenizer of CLIP's size that knows letters only; queries are short either way."""
    from transformers import CLIPTokenizer

    known = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    filler = [f"<{number}>" for number in range(CLIP_VOCABULARY - len(known) - 2)]
    tokens = [*known, *filler, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def count(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


SWIN_BASE: Final = {
    "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "image_size": 384,
}  # fmt: skip
HIERA_SMALL: Final = {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]}
HIERA_LARGE: Final = {
    "hidden_size": 144, "num_attention_heads": 2, "blocks_per_stage": [2, 6, 36, 4],
    "embed_dim_per_stage": [144, 288, 576, 1152], "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 16, 8], "global_attention_blocks": [23, 33, 43],
}  # fmt: skip
MODELS: Final = {
    "vlpart": Model("VLPart, bf16", 2, partial(build_vlpart, precision="bf16")),
    "vlpart-fp32": Model("VLPart, fp32", 2.5, partial(build_vlpart, precision="fp32")),
    "gdino-tiny": Model("Grounding DINO tiny", 3, partial(build_grounding_dino, swin={})),
    "gdino-base": Model("Grounding DINO base", 4, partial(build_grounding_dino, swin=SWIN_BASE)),
    "owlv2": Model("OWLv2 base", 3, build_owl),
    "sam-b": Model("SAM ViT-B", 4, partial(build_sam, size="vit_b")),
    "sam-l": Model("SAM ViT-L", 6, partial(build_sam, size="vit_l")),
    "sam-h": Model("SAM ViT-H", 8, partial(build_sam, size="vit_h")),
    "sam-h-bf16": Model("SAM ViT-H, encoder bf16", 7, partial(build_sam, size="vit_h", precision="bf16")),
    "sam2-small": Model("SAM 2 small", 2.5, partial(build_sam2, hiera=HIERA_SMALL, channels=[768, 384, 192, 96])),
    "sam2-large": Model("SAM 2 large", 3.5, partial(build_sam2, hiera=HIERA_LARGE, channels=[1152, 576, 288, 144])),
    "sam3": Model("SAM 3, encoder bf16 where that is faster", 7, build_sam3),
    "similarity": Model("CLIP ViT-B/16, similarity", 2, build_similarity),
    "refine": Model("Refinement network", 3.5, build_refinement),
}
