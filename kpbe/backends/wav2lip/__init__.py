"""Wav2Lip: lips painted onto a face to match speech (reference: Rudrabha/Wav2Lip)."""

from kpbe.backends.wav2lip.backend import Wav2Lip
from kpbe.backends.wav2lip.checkpoints import load_generator, load_sync_expert, save_generator
from kpbe.backends.wav2lip.faces import crop_boxes, generator_input, prepare_face_window
from kpbe.backends.wav2lip.networks import (
    QualityDiscriminator,
    SyncNet,
    Wav2LipGenerator,
    mouth_window,
)
from kpbe.backends.wav2lip.windows import mel_batch, speech_mel, window_starts

__all__ = [
    "QualityDiscriminator",
    "SyncNet",
    "Wav2Lip",
    "Wav2LipGenerator",
    "crop_boxes",
    "generator_input",
    "load_generator",
    "load_sync_expert",
    "mel_batch",
    "mouth_window",
    "prepare_face_window",
    "save_generator",
    "speech_mel",
    "window_starts",
]
