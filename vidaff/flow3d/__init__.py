"""Dense RGB-D scene flow: how far every visible point moved between two frames, in metres.

Worked example, a clip of (T, 300, 300) frames at 10 frames a second::

    stream = SceneFlow(Intrinsics(fx=365, fy=365, cx=150, cy=150), method="pd-dis")
    for rgb, depth_m in clip:                  # (300, 300, 3) uint8, (300, 300) float32 metres
        flow, valid = stream.step(rgb, depth_m)   # (300, 300, 3) float32 metres, (300, 300) bool
        packed = pack_flow(flow, valid)           # (300, 300, 3) int16, 0.1 mm
        colour = encode_flow(flow, valid)         # (300, 300, 3) uint8, mid-grey where nothing moves

Axes: X right, Y down, Z away from the camera. :func:`scene_flow` describes frame 0's pixels and points to frame 1;
:class:`SceneFlow` describes the CURRENT frame's pixels and tells how each point moved to get there.
"""

from vidaff.flow3d.api import METHODS, SceneFlow, scene_flow
from vidaff.flow3d.colour import decode_flow, encode_flow, flow_scale
from vidaff.flow3d.store import pack_flow, unpack_flow
from vidaff.flow3d.types import Flow, Intrinsics

__all__ = [
    "METHODS",
    "Flow",
    "Intrinsics",
    "SceneFlow",
    "decode_flow",
    "encode_flow",
    "flow_scale",
    "pack_flow",
    "scene_flow",
    "unpack_flow",
]
