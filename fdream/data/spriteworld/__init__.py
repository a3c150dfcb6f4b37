"""SpriteWorld: a procedural world of sprites on painted scenes, where everything about a clip is known.

A clip is drawn from a seed: an object, a scene, a motion, a camera, three captions, and with the frames
their exact optical flow, object mask and visibility. It trains pocket, and it is where claims about the
method are proved in minutes. Start at ``world.SpriteWorld``.
"""
