"""The parts of fdream that can be swapped: what a stage declares, what it must do, how it is found.

``spec`` and ``interfaces`` are what a plugin author reads, ``registry`` finds and builds stages
through Python entry points, ``testing`` is the conformance kit, ``builtin`` holds the stages that
come with fdream. Built-in and foreign stages take the same path.
"""
