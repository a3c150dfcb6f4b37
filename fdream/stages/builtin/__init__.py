"""The stages that come with fdream.

``specs`` declares them all and imports nothing heavy; every other module here imports torch and is
loaded by the registry only when its stage is built.
"""
