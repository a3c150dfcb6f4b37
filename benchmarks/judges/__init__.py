"""Judges of pocket's pictures and videos, which share no weights with it.

``picture_judge`` names a picture's object and scene and finds the sprite; ``tracking`` follows the
sprite against the background; ``motion_judge`` names the motion of a track. Their checkpoints lie
beside them, ``python -m benchmarks.judges.train`` made them, and ``ceilings.json`` holds how often
they are right on real renderings: no score of a model can be read without those.
"""
