"""Factorized-Dreamer text-to-video: first the image, then its motion."""

__version__ = "0.1.0"
