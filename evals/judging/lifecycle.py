"""The life of a judge's model: which snapshot of which provider it is, and when the provider retires it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

from reer.models.protocols import Model, SnapshotModel

WARNING_DAYS = 90


@dataclass(frozen=True)
class Notice:
    """A sentence on a model's retirement; `over` where it is past."""

    text: str
    over: bool


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a provider has announced about one snapshot. It says nothing of another model, nor of the same one on
    another host, which keeps dates of its own."""

    provider: str
    host: str
    """The provider's own host."""
    snapshot: str
    """The model's name there."""
    source: str
    """The page on which the provider announces retirements."""
    retires: date | None = None
    """From this day on requests fail; None where nothing is announced."""
    kept_until: date | None = None
    """The provider does not retire it before this day; None where it promises nothing."""
    instead: str | None = None
    """The choice of `judge=` to take instead."""

    def notice(self, model: Model, today: date) -> Notice | None:
        """What is to be said of a model: that its retirement is past or at most `WARNING_DAYS` ahead, or that the
        provider's promise has ended. None where there is no news, and where the model is another one."""
        if not self._is_of(model):
            return None
        instead = f"; take judge={self.instead} instead" if self.instead else ""
        if self.retires is None:
            ended = self.kept_until is not None and today >= self.kept_until
            promise = f"{self.provider} promised {self.snapshot} until {self.kept_until} only; see {self.source}"
            return Notice(promise, False) if ended else None
        if today >= self.retires:
            return Notice(f"{self.provider} retired {self.snapshot} on {self.retires} ({self.source}){instead}", True)
        days = (self.retires - today).days
        text = f"{self.provider} retires {self.snapshot} on {self.retires}, in {days} days ({self.source}){instead}"
        return Notice(text, False) if days <= WARNING_DAYS else None

    def _is_of(self, model: Model) -> bool:
        if not isinstance(model, SnapshotModel):
            return False
        return model.model == self.snapshot and urlsplit(model.base_url).hostname == self.host
