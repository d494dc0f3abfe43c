"""Raw refined labels: what the trained refinement network marks of the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vidaff.errors import VidaffError
from vidaff.labels.engine import Item, Outcome, mask_file
from vidaff.labels.loading import choose_device, weights_identity
from vidaff.labels.part_names import Pair
from vidaff.labels.pictures import LabelledPictures, OwnLabels
from vidaff.labels.refine_infer import Refiner
from vidaff.labels.refine_recipe import RefineRecipe, RefineUse
from vidaff.labels.steps.base import ModelWork
from vidaff.models.image.checkpoint import load_grounder


class RefineWork(ModelWork):
    """Raw labels of the refined pairs.

    Args:
        recipe: input and threshold of the network.
        checkpoint: its folder.
        text: text feature (D,) of the part by pair.
        items: egocentric pictures.
        out: label folder with the masks of objects.
        device: of the network.

    Source: Xu et al., ICLR 2025, section 3.3; the threshold is that of the authors' code.
    """

    name = "refine"
    _identity: str
    _refiner: Refiner
    _pictures: LabelledPictures

    def __init__(
        self,
        recipe: RefineRecipe,
        checkpoint: str | Path,
        text: Mapping[Pair, np.ndarray],
        items: Sequence[Item],
        out: str,
        *,
        device: str = "auto",
    ) -> None:
        self.recipe, self.checkpoint, self.text = recipe, str(checkpoint), dict(text)
        self.items, self.out, self.device = list(items), out, device

    def load(self) -> None:
        """Load the network."""
        inputs, device = self.recipe.input, str(choose_device(self.device))
        model = load_grounder(self.checkpoint).model.to(device)
        self._identity = weights_identity(model.state_dict())
        self._refiner = Refiner(model, size=inputs.size[0], mean=inputs.mean, std=inputs.std, device=device)
        self._pictures = LabelledPictures(self.items, OwnLabels(self.out))

    def fingerprint(self) -> str:
        """What tells networks apart; it must be loaded."""
        return self._identity

    def run(self, item: Item, image: np.ndarray) -> Outcome:
        """Mark the part within the object; no file when nothing is above the threshold."""
        if item.picture.pair not in self.text:
            raise VidaffError(f"no text feature of the part {item.affordance} {item.object}")
        probabilities = self._refiner.probabilities(image, torch.from_numpy(self.text[item.picture.pair]))
        thing = self._pictures.mask("objects/egocentric", item.picture, (image.shape[0], image.shape[1]))
        inside = np.zeros(image.shape[:2], bool) if thing is None else thing
        mask, peak = marked(probabilities, inside, self.recipe.use)
        record = {
            "area": round(float(mask.mean()), 4),
            "object": round(float(inside.mean()), 4),
            "peak": round(peak, 4),
        }
        return Outcome([mask_file("raw", item.picture, mask)] if mask.any() else [], record)


def marked(probabilities: np.ndarray, inside: np.ndarray, use: RefineUse) -> tuple[np.ndarray, float]:
    """Pixels (H, W) bool of the object ``inside`` that are taken for the part, and the object's highest probability.

    A network that learned little is unsure of every pixel, and of some parts more than of others: a share of the peak
    finds what stands out. Deviation: the authors' threshold is one probability for all.
    """
    peak = float(probabilities[inside].max()) if inside.any() else 0.0
    if not inside.any() or peak < use.least_peak:
        return np.zeros_like(inside), peak
    return (probabilities > (use.threshold * peak if use.relative else use.threshold)) & inside, peak
