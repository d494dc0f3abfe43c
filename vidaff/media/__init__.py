"""Frames from videos, folders, pictures and cameras; depth from folders and arrays; videos out.

All readers hold one frame at a time, whatever the length of the source::

    with open_frames("clip.mp4", fps=10) as frames, open_depth("clip_depth/") as depth:
        for rgb, depth_mm in paired(frames, depth):     # (H, W, 3) uint8, (H, W) uint16
            ...
    with VideoWriter("out.mp4", fps=10, size=(480, 640)) as video:
        video.write(rgb)
"""

from vidaff.media.depth import DepthSource, open_depth, paired
from vidaff.media.frames import BACKENDS, FrameSource, open_frames
from vidaff.media.writer import VideoWriter

__all__ = ["BACKENDS", "DepthSource", "FrameSource", "VideoWriter", "open_depth", "open_frames", "paired"]
