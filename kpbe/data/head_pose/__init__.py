"""Head pose labels of training frames: their convention, the stage that makes them, the teacher networks."""
