"""The embedded default: RGB-D interaction clips, rendered without a display.

Worked example::

    from vidaff.datasets.synthetic import SynthSettings, render_sor3d_aff

    root = render_sor3d_aff("data/synthetic", SynthSettings(clips_train=600, clips_val=90), workers=2)

Object first, action second: an object of one of 16 types affords two or three actions on different parts. Its pose,
light and picture are drawn without looking at the action, and the last frame shows it at rest, alone. So only the video
tells which part is meant.
"""

from __future__ import annotations

from vidaff.datasets.synthetic.agd20k_set import Agd20kSettings, render_agd20k
from vidaff.datasets.synthetic.dataset import SynthSettings, render_sor3d_aff
from vidaff.datasets.synthetic.still_iit_aff import IitAffSettings, render_iit_aff
from vidaff.datasets.synthetic.still_umd import UmdSettings, render_umd

__all__ = [
    "Agd20kSettings",
    "IitAffSettings",
    "SynthSettings",
    "UmdSettings",
    "render_agd20k",
    "render_iit_aff",
    "render_sor3d_aff",
    "render_umd",
]
