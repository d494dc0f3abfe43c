"""The frozen visual encoder that says how alike objects look."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from vidaff.datasets.agd20k.pixels import network_input, patches_of_box
from vidaff.labels.label_recipe import EncoderSettings
from vidaff.labels.loading import choose_device, weights_identity
from vidaff.labels.refine_train import start_network


class FrozenEncoder:
    """Features of objects in pictures: averages of the encoder's patches that touch the object's box.

    Args:
        settings: the encoder, its weights and its input.
        device: ``auto``, ``cpu``, ``cuda``.

    Raises:
        VidaffError: weights that cannot be had.

    Source: Xu et al., ICLR 2025, equation 4 and A.2; no code of it was published, so that resizing and patches are
    those of the grounding network's exocentric pictures.
    """

    def __init__(self, settings: EncoderSettings, *, device: str = "auto") -> None:
        self.settings = settings
        self.device = choose_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # decides on the weights where there are no published ones
            model, _ = start_network(settings.weights, settings.network)
        self.encoder = model.encoder.requires_grad_(False).eval().to(self.device)
        self.patch = int(model.encoder.patch)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """What tells encoders apart."""
        return weights_identity(self.encoder.state_dict(), self.settings)

    @torch.no_grad()
    def objects(self, rgb: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(n, D) float32, of length 1, of the objects in ``boxes`` (n, 4 or 5) of ``rgb`` (H, W, 3) uint8."""
        settings, size = self.settings, self.settings.size[0]
        image = torch.from_numpy(network_input(rgb, settings.size, settings.mean, settings.std))
        tokens = self.encoder(image[None].to(self.device))[0, 1:].float().cpu()  # (N, D)
        grid = (rgb.shape[0], rgb.shape[1])
        masks = np.stack([patches_of_box(box, grid, size, self.patch) for box in boxes])  # (n, N)
        weights = torch.from_numpy(masks / masks.sum(axis=1, keepdims=True))
        vectors: np.ndarray = F.normalize(weights @ tokens, dim=1).numpy()
        return vectors
