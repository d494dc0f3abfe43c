"""The video branch: a two-stream spatio-temporal autoencoder that segments affordances frame by frame.

Source: Thermos, Daras, Potamianos, "A Deep Learning Approach to Object Affordance Segmentation", ICASSP 2020.
"""

from vidaff.models.video.build import build_video_model as build_video_model
from vidaff.models.video.network import StreamState as StreamState
from vidaff.models.video.network import VideoAffordanceNet as VideoAffordanceNet
from vidaff.models.video.network import VideoOutput as VideoOutput

__all__ = ["StreamState", "VideoAffordanceNet", "VideoOutput", "build_video_model"]
