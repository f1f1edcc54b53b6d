"""From videos to clips: sources, faces, crops, the clip manifest and the built-in sample."""
