"""RGB-D pairs and clips with exact scene flow: textured rigid bodies, ray-cast analytically. No renderer is needed.

    pair = make_pair("hand", size=(240, 320), seed=3)      # depth-camera noise unless noise=False
    flow, valid = scene_flow(pair.rgb0, pair.depth0, pair.rgb1, pair.depth1, pair.intrinsics)
    error_m = np.linalg.norm(flow - pair.flow, axis=-1)[pair.valid]

Named scenes, measured at 240x320 over seeds 0 to 7: mean motion of the moving pixels that have depth, their share of
the picture, and the share of them that frame 1 does not show (covered, or out of the picture).

======  ========  =======  ======  ======  ===============================================================
scene   pixels    mm       moving  hidden  what it is
======  ========  =======  ======  ======  ===============================================================
still    0          0       0 %     0 %    ``mid`` at rest
slow     3.0        9       7 %     1 %    an arm whose hand holds a block, over a slanted table, and a wall
hand     9.0       27       7 %     4 %    the same, turning, the fingers bending
mid     18.0       47       8 %     7 %    the same, nearer
fast    43.6      114       8 %    15 %    the same as ``mid``
ball    10.6       27      10 %     0 %    a ball before a slanted wall
camera   6.5       25     100 %     3 %    the arm at rest, seen by a moving camera
plain    9.0       27       7 %     4 %    ``hand`` with a tenth of the texture contrast
======  ========  =======  ======  ======  ===============================================================

A seed changes textures, poses and motions; the same seed always gives the same arrays. Brightness is constant but for
noise: there is no shading. Textures are smooth, the shortest wave 18 mm; those behind are half as strong as the arm's.
"""

from vidaff.flow3d.analytic.pairs import Clip, Pair, make_clip, make_pair
from vidaff.flow3d.analytic.scene import Ball, Body, Box, Motion, Plane, Scene, Texture, camera_of
from vidaff.flow3d.analytic.scenes import SCENES, named_scene

__all__ = [
    "SCENES",
    "Ball",
    "Body",
    "Box",
    "Clip",
    "Motion",
    "Pair",
    "Plane",
    "Scene",
    "Texture",
    "camera_of",
    "make_clip",
    "make_pair",
    "named_scene",
]
