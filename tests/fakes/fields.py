"""Values of configured records are checked by the types of their fields when a configuration is read."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError


def assert_field_refuses(record: Any, field: str, value: object) -> None:
    """Reading `record` with this value of `field` fails with an error that names the field."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    adapter = TypeAdapter(type(record))
    adapter.validate_python(values)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({**values, field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}
