"""Video, sound and pictures: decoding, encoding, mel spectrograms, contact sheets."""
