"""Keypoint frontend: decompose images into appearance, keypoints, pose and expression; render them anew."""
