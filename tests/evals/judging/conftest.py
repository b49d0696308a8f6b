"""What tests of judging share."""

from tests.fakes.http import serve

__all__ = ["serve"]
