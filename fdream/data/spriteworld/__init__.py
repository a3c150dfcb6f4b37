"""SpriteWorld: a procedural world where everything about a clip is known.

Sprites move over painted scenes. A clip is drawn from a seed: an object, a scene, a motion, a
camera, three captions, and with the frames their exact optical flow, object mask and visibility.
It trains pocket, and it is where claims about the method are proved in minutes. Start at
``world.SpriteWorld``.
"""
