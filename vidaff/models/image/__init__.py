"""The image branch: where in a picture is an action done, learned from pictures without pixel labels.

Source: Xu et al., "Weakly-Supervised Affordance Grounding Guided by Part-Level Semantic Priors", ICLR 2025.
"""

from vidaff.models.image.build import build_grounder as build_grounder
from vidaff.models.image.build import pretrained_grounder as pretrained_grounder
from vidaff.models.image.checkpoint import ImageCheckpoint as ImageCheckpoint
from vidaff.models.image.checkpoint import load_grounder as load_grounder
from vidaff.models.image.checkpoint import save_grounder as save_grounder
from vidaff.models.image.features import ImageFeatures as ImageFeatures
from vidaff.models.image.grounder import GroundingNet as GroundingNet
from vidaff.models.image.grounder import GroundingOutput as GroundingOutput
from vidaff.models.image.grounder import RefinementNet as RefinementNet
from vidaff.models.image.plsp import from_plsp_state_dict as from_plsp_state_dict
from vidaff.models.image.settings import ENCODERS as ENCODERS
from vidaff.models.image.settings import GROUNDERS as GROUNDERS
from vidaff.models.image.settings import GrounderSettings as GrounderSettings

__all__ = [
    "ENCODERS",
    "GROUNDERS",
    "GrounderSettings",
    "GroundingNet",
    "GroundingOutput",
    "ImageCheckpoint",
    "ImageFeatures",
    "RefinementNet",
    "build_grounder",
    "from_plsp_state_dict",
    "load_grounder",
    "pretrained_grounder",
    "save_grounder",
]
