"""Measuring videos: figures of quality, of motion and of agreement with the caption."""
