"""Settings of the whole labelling: one YAML file, every step's numbers in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vidaff.config import Settings, read_recipe, validate_settings
from vidaff.labels.ops import HOLE_AREA, KEPT_SCORE
from vidaff.labels.refine_recipe import NAME as REFINE
from vidaff.labels.refine_recipe import RefineRecipe, read_refine_block, refine_of_encoder
from vidaff.labels.settings import DetectorSettings, SegmenterSettings
from vidaff.models.image.recipe import PictureInput, of_encoder
from vidaff.models.image.settings import ClipVisionSettings, EncoderName, GrounderSettings
from vidaff.models.image.text_table import TextSettings

NAME = "labels"
"""First word of the names of its recipes, and name of the one with the paper's numbers."""


class MaskSettings(Settings):
    """From a picture and words to one mask: a detector, a segmenter of its boxes, and what is kept of both."""

    detector: DetectorSettings = DetectorSettings()
    segmenter: SegmenterSettings = SegmenterSettings()
    threshold: float = Field(KEPT_SCORE, ge=0, lt=1, description="boxes above this score are kept, else the best one")
    hole_area: int = Field(HOLE_AREA, ge=0, description="holes of fewer pixels are filled (paper: not mentioned)")


class EncoderSettings(PictureInput):
    """The frozen encoder that compares objects of both views."""

    kind: EncoderName = Field("clip", description="visual encoder, as of the grounding network")
    weights: str | None = Field(
        "openai/clip-vit-base-patch16",
        description="published weights, or a checkpoint of vidaff; empty: random, for colour and texture",
    )
    dim: int = Field(512, ge=16, le=4096, multiple_of=16, description="width of the features")
    clip: ClipVisionSettings = Field(ClipVisionSettings(), description="sizes of a CLIP with random weights")
    seed: int = Field(0, ge=0, lt=2**32, description="of random weights")

    @property
    def network(self) -> GrounderSettings:
        """Settings by which an encoder is built."""
        heads = {"decoder": {"heads": 1}, "fuser": {"heads": 1}}
        own = {"task": "refinement", "dim": self.dim, "encoder": self.kind, "clip": self.clip}
        return GrounderSettings.model_validate({**heads, **own})


class FelzenszwalbSettings(Settings):
    """Regions of even colour, found without a network. Source: Felzenszwalb and Huttenlocher, IJCV 2004."""

    scale: float = Field(100.0, gt=0, description="larger: fewer regions")
    sigma: float = Field(0.5, ge=0, description="blur before the segmentation, in pixels")
    min_size: int = Field(30, ge=1, description="smallest region in pixels")


class CleanSettings(Settings):
    """The clean-up of raw labels: regions of each object's box, and which of them are kept."""

    regions: Literal["proposer", "felzenszwalb"] = Field(
        "proposer", description="who cuts the box into regions: a segmenter, or even colours (no network)"
    )
    proposer: SegmenterSettings | None = Field(None, description="segmenter of regions; empty: that of the parts")
    felzenszwalb: FelzenszwalbSettings = FelzenszwalbSettings()
    overlap: float = Field(0.1, ge=0, lt=1, description="least share of a region that the raw label covers, exclusive")
    best: float = Field(0.9, ge=0, le=1, description="least share relative to that of the best region, exclusive")
    whole: float = Field(
        0.9, gt=0, le=2, description="a region with this share of the raw label is taken for the whole object and left "
        "out (paper: not mentioned); above 1: none is",
    )  # fmt: skip


class LabelRecipe(Settings):
    """Everything that decides what labels become; defaults follow the authors' code."""

    name: str = "custom"
    about: str = Field("", description="one sentence for people")
    parts: tuple[str, ...] = Field((), description="YAML files of part names, besides the shipped ones")
    part: MaskSettings = Field(MaskSettings(), description="initial labels: the part that an affordance concerns")
    object: MaskSettings | None = Field(None, description="whole objects; empty: as part")
    encoder: EncoderSettings = EncoderSettings()
    text: TextSettings = TextSettings(source="openai/clip-vit-base-patch16")
    refine: RefineRecipe = RefineRecipe()
    clean: CleanSettings = CleanSettings()

    @property
    def objects(self) -> MaskSettings:
        """How whole objects are found."""
        return self.object or self.part


def load_label_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> LabelRecipe:
    """Load a shipped recipe or a YAML file and apply ``block.key=value`` overrides.

    Its ``refine`` may be the name of a recipe or a YAML file, and is the recipe ``refine`` where nothing is said;
    overrides of ``refine.*`` are applied to that.

    Raises:
        VidaffError: unknown recipe, unreadable YAML, unknown key or a value out of range; names the key.
    """
    overrides = list(overrides)
    inner = [override for override in overrides if override.startswith("refine.")]
    data, where = read_recipe(name_or_file, [one for one in overrides if one not in inner], model=NAME)
    # Not the block's own defaults, whose encoder starts from random weights.
    data["refine"] = read_refine_block(
        data.get("refine", REFINE), [one.removeprefix("refine.") for one in inner], where
    )
    return label_recipe_from_dict(data, where=where)


def label_recipe_from_dict(data: dict[str, Any], *, where: str) -> LabelRecipe:
    """Validate a plain dictionary; ``where`` names its origin in the error."""
    recipe = validate_settings(LabelRecipe, data, where=where)
    refine = refine_of_encoder(recipe.refine)
    return recipe.model_copy(update={"encoder": of_encoder(recipe.encoder, recipe.encoder.kind), "refine": refine})
