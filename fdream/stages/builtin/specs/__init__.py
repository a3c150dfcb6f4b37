"""Declarations of the built-in stages, a module for each kind; pydantic and nothing heavy.

Each constant is the target of an entry point in fdream's own pyproject.toml.
"""

from typing import Final

LICENCE: Final = "Apache-2.0"
"""Of all of them."""
