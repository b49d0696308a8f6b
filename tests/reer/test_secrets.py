"""Secrets are recognised and removed; ordinary texts stay as they are."""

import pytest

from reer.secrets import Redactor, environment_secrets, looks_like_a_secret, redacted

SECRET = "secret-4f9a/Zq+8c1d2e3f"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in SECRET)


@pytest.mark.parametrize("spelling", [SECRET, SECRET.replace("/", "\\/"), ESCAPED, ESCAPED.upper().replace("U", "u")])
def test_a_key_is_redacted_however_json_spells_it(spelling: str) -> None:
    assert Redactor([SECRET]).redact(f'{{"a": "<{spelling}>"}}') == '{"a": "<[redacted]>"}'
    assert Redactor([SECRET]).redact_bytes(f"é{spelling}\ud83d".encode("utf-8", "replace")) == "é[redacted]?".encode()


@pytest.mark.parametrize(
    "text",
    ["The bearer approached the standard Bearer.", "bearer certificates", "EMPTY", "sk-short", "a@b.c", "é\u2028"],
)
def test_ordinary_texts_stay(text: str) -> None:
    assert Redactor(["EMPTY", ""]).redact(text) == text
    assert redacted(text) == text
    assert not looks_like_a_secret(text)


def test_only_variables_that_say_so_hold_secrets() -> None:
    environment = {"OPENAI_API_KEY": "a", "TOKEN": "b", "DB_PASSWORD": "c", "HOME": "d", "MAX_TOKENS": "e", "KEYS": "f"}
    assert environment_secrets(environment) == ["a", "b", "c"]
