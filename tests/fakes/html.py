"""What a browser finds in an HTML page: its elements with their attributes, and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """A parsed page. `text` is that of all elements, scripts and styles excepted."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.lasttag not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element with this tag."""
        return [attributes for found, attributes in self.elements if found == tag]


def parse(content: str) -> Page:
    page = Page()
    page.feed(content)
    page.close()
    return page
