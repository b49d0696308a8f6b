"""The JSON of servers is bounded, and its numbers are checked."""

import pytest

from reer.models.http.replies import MAX_NESTING, parse_json, token_count


def test_a_json_text_has_a_bounded_depth() -> None:
    def deep(levels: int) -> str:
        return '{"a":' * (levels - 1) + "[]" + "}" * (levels - 1)

    assert parse_json(deep(MAX_NESTING)) is not None
    for levels in (MAX_NESTING + 1, 900, 100_000):
        with pytest.raises(ValueError, match="nested"):
            parse_json(deep(levels))
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\xc3\xa9"]}') == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize("value", [-1, 1.5, float("inf"), float("nan"), 10**400, True, "7", None, [7], {}])
def test_what_is_no_number_of_tokens_is_none(value: object) -> None:
    assert token_count(value) is None
    assert (token_count(7), token_count(7.0), token_count(0)) == (7, 7, 0)
