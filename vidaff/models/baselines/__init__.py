"""Systems that the paper compares with. AffordanceNet: detection and affordance masks in one network."""

from vidaff.models.baselines.affordancenet import AffordanceNet as AffordanceNet
from vidaff.models.baselines.affordancenet import build_affordancenet as build_affordancenet

__all__ = ["AffordanceNet", "build_affordancenet"]
