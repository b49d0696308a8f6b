"""The likely cure for a call that a server rejects whatever its content is: an address, a key or a model's name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

MODEL_UNKNOWN = re.compile(r"model.{0,80}(not.{0,3}(found|exist)|unknown)|no such model", re.I | re.S)


def cure(status: int, base_url: str, path: str, text: str, key_variable: str) -> str:
    """What to do about a rejection with this status and text; '' where nothing is known."""
    if status in (401, 403):
        return _key_cure(key_variable)
    if status == 402:
        return "the account has no credit left: add some, and run the same command again"
    if 300 <= status < 400:
        return "the server has moved: set base_url to its new address"
    if status not in (404, 405):
        return ""
    if MODEL_UNKNOWN.search(text):
        return "the server has no model of this name (it may be retired): set `model` to one that it lists"
    return _address_cure(base_url.rstrip("/"), path)


def _key_cure(key_variable: str) -> str:
    if key_variable:
        return f"is the key in {key_variable} valid, and for this server?"
    return "does the server need a key? Put it into an environment variable and name that in key_variable"


def _address_cure(base_url: str, path: str) -> str:
    """An OpenAI-compatible address ends in /v1, or in a version of the provider's; Anthropic's does not."""
    version = re.search(r"/v[0-9]+[a-z]*[0-9]*(?=/|$)", urlsplit(base_url).path)
    if path.startswith("/v1/") and base_url.endswith("/v1"):
        return f"base_url must not end in /v1 here; try base_url={base_url.removesuffix('/v1')}"
    if not path.startswith("/v1/") and not version:
        return f"does base_url lack /v1? Try base_url={base_url}/v1"
    return "is base_url the address of this kind of server?"
