"""What tests of HTTP clients share."""

from tests.fakes.http import serve

__all__ = ["serve"]
