"""Whether the weights of a model are still in this process."""

import gc
import weakref
from typing import Any

from reer.models.local.model import LocalModel, LocalSession
from reer.models.protocols import Device


def weights(model: LocalModel) -> Any:
    """The weights that a session of the model has, without holding them."""
    with model.open(Device("cpu")) as session:
        assert isinstance(session, LocalSession)
        return weakref.ref(session.model)


def is_freed(reference: Any) -> bool:
    gc.collect()
    return reference() is None
