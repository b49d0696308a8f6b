"""The classes of models and of their weights, by the name that configurations give them under `kind` or as a schema."""

from __future__ import annotations

from collections.abc import Mapping

from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.scripted import ScriptedModel
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ScoringServer

CHECKPOINTS: Mapping[str, type] = {"hub": HubModel, "package": PackageModel, "folder": FolderModel, "tiny": TinyModel}
MODELS: Mapping[str, type] = {
    "local": LocalModel,
    "scripted": ScriptedModel,
    "server": ChatServer,
    "anthropic": AnthropicServer,
    "scoring": ScoringServer,
}
