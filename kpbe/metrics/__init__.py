"""Metrics of videos: pictures, mouth, lip sync, head pose, identity."""
