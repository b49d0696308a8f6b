"""What tests of experiments share."""

from tests.fakes.http import serve

__all__ = ["serve"]
