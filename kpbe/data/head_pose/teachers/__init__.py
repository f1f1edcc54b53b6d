"""Networks that tell the head pose of a picture: Hopenet, WHENet and FSA-Net, behind one protocol."""
