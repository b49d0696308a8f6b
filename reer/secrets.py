"""Recognises secrets in settings, and removes them from texts before these are kept or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache

from reer.errors import InputError

REDACTED = "[redacted]"
SHORTEST = 8  # characters: a shorter value, such as vLLM's "EMPTY", also occurs in texts that are no secret
_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:
      sk-[\w-]{16,} | hf_\w{20,} | gh[oprsu]_\w{20,} | github_pat_\w{20,} | glpat-[\w-]{16,} | wandb_v\d_\w{20,}
    | AIza[\w-]{30,} | xox[a-z]-[\w-]{10,} | A[KS]IA[A-Z0-9]{16}
    | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*                        # a JSON web token
    )""",
    re.X | re.A,
)
_HEX_KEY = re.compile(r"[0-9a-f]{40}")  # of W&B, but also a commit
_USER = re.compile(r"://[^/\s@?#]+@")  # a user, with or without a password, in a URL
_QUERY = re.compile(r"[?&][\w-]*(?:key|token|secret|signature|password|credential)[\w-]*=[^&\s#]+", re.I | re.A)
_BEARER = re.compile(r"([Bb]earer\s+)(?=[\w.~+/-]*[0-9])[\w.~+/-]{16,}=*", re.A)
_CREDENTIAL = re.compile(r"(?:^|.*_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)", re.I)


@cache
def names_a_credential(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret, as OPENAI_API_KEY does."""
    return _CREDENTIAL.fullmatch(variable) is not None


def looks_like_a_secret(text: str) -> bool:
    """Whether a setting holds a key of a known shape, a user in a URL, or a secret in the query of a URL."""
    return any(shape.search(text) for shape in (_KEY, _USER, _QUERY, _BEARER))


def is_a_hex_key(text: str) -> bool:
    """Whether a setting is 40 hex digits, as keys of W&B and ids of commits are."""
    return _HEX_KEY.fullmatch(text) is not None


class Redactor:
    """Removes given secrets from texts, and whatever follows `Bearer` like a key. Secrets of fewer than `SHORTEST`
    characters stay."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._escaped = re.compile("|".join(map(_escapes, self.secrets))) if self.secrets else None

    def redact(self, text: str) -> str:
        """The text without the secrets, also where JSON spells their characters as escapes."""
        for secret in self.secrets:
            text = text.replace(secret, REDACTED)
        if self._escaped is not None and ("\\u00" in text or "\\/" in text):
            text = self._escaped.sub(REDACTED, text)
        return _BEARER.sub(rf"\1{REDACTED}", text)

    def redact_bytes(self, content: bytes) -> bytes:
        """The same for bytes of any encoding that contains ASCII."""
        return self.redact(content.decode("latin-1")).encode("latin-1")


def _escapes(secret: str) -> str:
    """A pattern of every way to write a text inside a JSON string."""
    written = ((re.escape(c) if c != "/" else r"\\?/", ord(c)) for c in secret)
    return "".join(rf"(?:{plain}|\\u(?i:{code:04x}))" for plain, code in written)


def key_in(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """The key in an environment variable without white space around it; '' where the variable is not set. Raises
    InputError, which does not show the key, for what no server takes as one."""
    key = environment.get(variable, "").strip()
    if key[:1] in ("'", '"') and key:
        problem = "begins with a quotation mark"
    elif re.match(r"bearer\s", key, re.I):
        problem = "begins with the word Bearer"
    elif not key.isascii() or not key.isprintable() or " " in key:
        problem = "holds white space or a character that is not ASCII"
    else:
        return key
    raise InputError(f"the environment variable {variable} {problem}; set it to the key alone")


def environment_secrets(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The values of the environment variables whose names say that they hold a secret."""
    return [environment[name].strip() for name in environment if names_a_credential(name)]


@cache
def _redactor(secrets: tuple[str, ...]) -> Redactor:
    return Redactor(secrets)


def redacted(text: str) -> str:
    """A text to be shown: without the secrets of the environment, keys of known shapes, users and secrets in URLs."""
    text = _redactor(tuple(environment_secrets())).redact(text)
    text = _USER.sub(f"://{REDACTED}@", _KEY.sub(REDACTED, text))
    return _QUERY.sub(lambda match: f"{match[0].partition('=')[0]}={REDACTED}", text)
