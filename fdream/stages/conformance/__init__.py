"""The checks behind ``fdream.stages.testing``, one module for each family of kinds.

A check takes a ``Subject`` and returns when the stage keeps the rule. It raises ``CheckFailed``
with what it saw when the stage does not, and ``NotApplicable`` when the rule is not for it.
"""
