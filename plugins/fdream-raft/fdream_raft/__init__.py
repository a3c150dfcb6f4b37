"""RAFT optical flow for fdream: a teacher for training, and a metric of motion."""
