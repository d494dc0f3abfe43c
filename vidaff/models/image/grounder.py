"""The two networks: grounding (picture and action to heat map), and refinement of pseudo-labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from vidaff.models.image.exocentric import ExoClassifier, Pooling, misalignment, pool_object
from vidaff.models.image.features import ImageFeatures, encode
from vidaff.models.image.fuser import CrossModalFuser
from vidaff.models.image.mask_decoder import MaskDecoder
from vidaff.models.image.reasoning import ObjectPredictor, PartPredictor


class GroundingOutput(NamedTuple):
    """What the grounding network says of Q queries on each of B pictures.

    logits: (B, Q, h, w) before softmax over the cells; four cells a patch side at the usual settings.
    noun: (B, 1, D) guessed text feature of the object, None without reasoning.
    part: (B, Q, D) guessed text feature of the part, None without reasoning.
    misalignment: (B, n) in 0..2, distance to each exocentric picture beyond the margin; None without such pictures.
    exo_logits: (B, n, classes) affordance seen in each exocentric picture; None without such pictures.
    """

    logits: torch.Tensor
    noun: torch.Tensor | None
    part: torch.Tensor | None
    misalignment: torch.Tensor | None = None
    exo_logits: torch.Tensor | None = None


class GroundingNet(nn.Module):
    """Where in a picture an action is done.

    Source: Xu et al., ICLR 2025, figure 2 and section 3. The parts are passed in; see
    :func:`vidaff.models.image.build_grounder` for the numbers. Attributes have the names of the authors' checkpoints.

    Shapes at full size, one picture of 224x224 and Q actions: tokens 1x197x512 -> noun 1x1x512 -> part 1xQx512 ->
    affordance tokens 1xQx512 -> logits 1xQx56x56.

    Args:
        encoder: see :mod:`vidaff.models.image.features`.
        noun_transform, reason: the reasoning module; both None: the action alone is the query (ablation of ours).
        exo_cls: the exocentric classifier; None for a network without that branch.
        margin: cosine distance between affordance token and exocentric object that costs nothing.
        exo_pooling: ``sum`` (the authors' code) or ``mean`` (paper).
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        verb_fuser: CrossModalFuser,
        pred_decoder: MaskDecoder,
        noun_transform: ObjectPredictor | None,
        reason: PartPredictor | None,
        exo_cls: ExoClassifier | None,
        margin: float,
        exo_pooling: Pooling,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.verb_fuser = verb_fuser
        self.pred_decoder = pred_decoder
        self.exo_cls = exo_cls
        self.noun_transform = noun_transform
        self.reason = reason
        self.margin = margin
        self.exo_pooling: Pooling = exo_pooling

    def forward(self, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Heat-map logits (B, Q, h, w).

        Args:
            images: (B, 3, H, W), normalised, H and W multiples of the patch.
            text: (B, D) text feature of one action a picture (Q = 1), or (B, Q, D) of several.

        Raises:
            ValueError: shapes do not fit.
        """
        return self.ground(self.encode(images), text).logits

    def encode(self, images: torch.Tensor) -> ImageFeatures:
        """Features of ``images`` (B, 3, H, W), to be grounded once or more often."""
        return encode(self.encoder, images)  # type: ignore[arg-type]

    def ground(self, features: ImageFeatures, text: torch.Tensor) -> GroundingOutput:
        """Heat-map logits and the reasoning's guesses for ``text`` (B, D) or (B, Q, D)."""
        return self._ground(features, _queries(text, features))[0]

    def with_exocentric(
        self, images: torch.Tensor, text: torch.Tensor, exo_images: torch.Tensor, exo_masks: torch.Tensor
    ) -> GroundingOutput:
        """Everything that training needs, exocentric pictures included.

        Args:
            images: (B, 3, H, W), normalised.
            text: (B, D) text feature of the action.
            exo_images: (B, n, 3, H', W'), pictures of the same action in use.
            exo_masks: (B, n, h' * w'), 1 where a patch touches the object's box.

        Raises:
            ValueError: shapes do not fit, or the network has no exocentric branch.
        """
        if self.exo_cls is None:
            raise ValueError("exo_images cannot be used: this network has no exocentric branch")
        if exo_images.ndim != 5 or len(exo_images) != len(images):
            raise ValueError(f"exo_images must be ({len(images)}, n, 3, H, W), got {tuple(exo_images.shape)}")
        features = self.encode(images)
        output, affordance = self._ground(features, _queries(text, features))
        exo = self.encode(exo_images.flatten(0, 1)).tokens[:, 1:].unflatten(0, exo_images.shape[:2])  # (B, n, N, D)
        if exo_masks.shape != exo.shape[:3]:
            raise ValueError(f"exo_masks must be {tuple(exo.shape[:3])}, got {tuple(exo_masks.shape)}")
        pooled = pool_object(exo, exo_masks, self.exo_pooling)  # (B, n, D)
        return output._replace(
            misalignment=misalignment(affordance, pooled, self.margin), exo_logits=self.exo_cls(pooled).float()
        )

    def _ground(self, features: ImageFeatures, verb: torch.Tensor) -> tuple[GroundingOutput, torch.Tensor]:
        noun = part = None
        query = verb
        if self.noun_transform is not None and self.reason is not None:
            noun = self.noun_transform(features.tokens[:, :1])
            part = self.reason(noun, verb)
            query = part + verb
        affordance = self.verb_fuser(query, features)
        return GroundingOutput(self.pred_decoder(affordance, features), noun, part), affordance


class RefinementNet(nn.Module):
    """Segments the named part of the object whose surroundings look like those in exocentric pictures.

    Source: Xu et al., ICLR 2025, section 3.3. Encoder and mask decoder are those of :class:`GroundingNet`.
    """

    def __init__(self, *, encoder: nn.Module, pred_decoder: MaskDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.pred_decoder = pred_decoder

    def forward(self, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Logits (B, Q, h, w), before a sigmoid, of ``images`` (B, 3, H, W) and part texts (B, D) or (B, Q, D)."""
        features: ImageFeatures = encode(self.encoder, images)  # type: ignore[arg-type]
        logits: torch.Tensor = self.pred_decoder(features.tokens[:, :1] + _queries(text, features), features)
        return logits


def _queries(text: torch.Tensor, features: ImageFeatures) -> torch.Tensor:
    """``text`` as (B, Q, D), in the features' type."""
    batch, dim = len(features.tokens), features.tokens.shape[-1]
    queries = text.unsqueeze(1) if text.ndim == 2 else text
    if queries.ndim != 3 or len(queries) != batch or queries.shape[1] < 1 or queries.shape[2] != dim:
        raise ValueError(f"text must be ({batch}, {dim}) or ({batch}, Q, {dim}), got {tuple(text.shape)}")
    return queries.to(features.tokens.dtype)
