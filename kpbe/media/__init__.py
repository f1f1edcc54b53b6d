"""Video and audio files: `kpbe.media.video` and `kpbe.media.audio`."""
