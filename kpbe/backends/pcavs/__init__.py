"""PC-AVS: a talking face with identity, mouth and head pose from three sources.

Reference: Hangz-nju-cuhk/Talking-Face_PC-AVS.
"""

from kpbe.backends.pcavs.alignment import (
    align_frame,
    alignment_matrices,
    clip_similarity,
    crop_aligned,
    frame_to_image,
    paste_image,
)
from kpbe.backends.pcavs.audio_encoder import AudioEncoder
from kpbe.backends.pcavs.backend import PCAVS
from kpbe.backends.pcavs.checkpoints import load_networks, save_networks
from kpbe.backends.pcavs.generator import Noise, StyleGenerator
from kpbe.backends.pcavs.identity import Identity, IdentityEncoder
from kpbe.backends.pcavs.model import MOUTH_GAIN, PCAVSNetworks, from_network, to_network
from kpbe.backends.pcavs.non_identity import NonIdentityEncoder
from kpbe.backends.pcavs.windows import mel_windows, ping_pong, window_starts

__all__ = [
    "MOUTH_GAIN",
    "PCAVS",
    "AudioEncoder",
    "Identity",
    "IdentityEncoder",
    "Noise",
    "NonIdentityEncoder",
    "PCAVSNetworks",
    "StyleGenerator",
    "align_frame",
    "alignment_matrices",
    "clip_similarity",
    "crop_aligned",
    "frame_to_image",
    "from_network",
    "load_networks",
    "mel_windows",
    "paste_image",
    "ping_pong",
    "save_networks",
    "to_network",
    "window_starts",
]
