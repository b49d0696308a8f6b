"""Prompt texts as data, and how they are filled. The texts live in `conf/prompts`: they are experimental variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reer.errors import InputError
from reer.models.protocols import Prompt
from reer.text import fill, language_of, slots
from reer.types import Language, Message


@dataclass(frozen=True)
class PromptTexts:
    """The texts of one language. Slots are written `{{name}}`.

    draft: query, solution, reflection → a first thinking (paper.md §2.1); inference: query, reflection → the user
    turn answers are scored under (§2.2); edit: query, solution, before, segment, after, reflection → a better segment
    (§2.3); reverse: solution → the query it answers; classify: query, categories → a category id.
    `openers` begin a draft, chosen by seed; `reflective_openers` do where reflection is asked for, if there are any
    (small models do not reflect because they are told to, but go on in the voice they find). `edit_prefill` begins an
    edit and ends inside `<refine>` or before it; `edit_stops` end it.
    """

    system: str
    draft: str
    openers: tuple[str, ...]
    inference: str
    edit: str
    edit_prefill: str
    reverse: str
    reverse_fallback: str
    classify: str
    reflection: str
    reflective_openers: tuple[str, ...] = ()
    edit_stops: tuple[str, ...] = ("</refine>",)

    def __post_init__(self) -> None:
        wanted = {
            "draft": {"query", "solution", "reflection"},
            "inference": {"query", "reflection"},
            "edit": {"query", "solution", "before", "segment", "after", "reflection"},
            "reverse": {"solution"},
            "reverse_fallback": {"opening"},
            "classify": {"query", "categories"},
            "reflection": {"triggers"},
        }
        for name, want in wanted.items():
            got = slots(getattr(self, name))
            if got != want:
                raise InputError(f"prompts: text {name!r} has slots {sorted(got)}, wants {sorted(want)}")
        if not self.openers:
            raise InputError("prompts: want at least one opener, got none")


@dataclass(frozen=True)
class Triggers:
    """Reflection phrases per language; empty lists mean they are never asked for (paper.md §2.4)."""

    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()

    def of(self, language: Language) -> tuple[str, ...]:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Prompts:
    """All texts in both languages; a pair's query decides which is used."""

    name: str
    en: PromptTexts
    zh: PromptTexts

    def of(self, text: str) -> PromptTexts:
        return self.zh if language_of(text) == "zh" else self.en

    def openers(self, language_from: str, triggers: Triggers) -> tuple[str, ...]:
        """The openers a draft may begin with."""
        texts = self.of(language_from)
        asked = bool(triggers.of(language_of(language_from)))
        return texts.reflective_openers if asked and texts.reflective_openers else texts.openers

    def render(self, kind: str, language_from: str, values: Mapping[str, str], prefill: str = "") -> Prompt:
        """The named text filled and put into a user turn, after the system turn if there is one."""
        texts = self.of(language_from)
        system = (Message("system", texts.system),) if texts.system else ()
        return Prompt((*system, Message("user", fill(getattr(texts, kind), values).strip())), prefill)

    def reflection(self, language_from: str, triggers: Triggers) -> str:
        """The sentence that asks for reflection, or nothing where there are no triggers."""
        phrases = triggers.of(language_of(language_from))
        return fill(self.of(language_from).reflection, {"triggers": "; ".join(phrases)}) if phrases else ""
