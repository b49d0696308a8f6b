"""What tests of the store share."""

from tests.fakes.http import serve

__all__ = ["serve"]
