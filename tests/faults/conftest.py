"""Fixtures of the fault tests."""

from tests.fakes.http import serve

__all__ = ["serve"]
