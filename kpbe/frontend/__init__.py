"""Keypoint frontend: split images into appearance, keypoints, pose and expression; render frames of them."""
