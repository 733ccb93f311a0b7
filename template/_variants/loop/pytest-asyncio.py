"""How long an event loop lives.

pytest-asyncio makes the loops. Both of its loop scopes are set in pyproject.toml, since with its
defaults session fixtures and tests run on different loops without a word.
"""

from .answers import LOOP_SCOPE

__all__ = ["LOOP_SCOPE"]
