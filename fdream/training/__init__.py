"""How weights are learned: the loop, its objectives, checkpoints and averages of weights."""
