"""Prompt texts as data, and how they are filled. The texts are in `conf/prompts`: they are experimental variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from reer.errors import InputError
from reer.models.protocols import Prompt
from reer.parts import Name
from reer.text import fill, slots
from reer.types import Language, Message, Pair

Kind = Literal["draft", "inference", "edit", "reverse", "classify"]

_SLOTS = {
    "draft": {"query", "solution", "reflection"},
    "inference": {"query", "reflection"},
    "edit": {"query", "solution", "before", "segment", "after", "reflection"},
    "reverse": {"solution"},
    "reverse_fallback": {"opening"},
    "classify": {"query", "categories"},
}
SENTENCES = {"draft": "reflection", "edit": "reflection_edit", "inference": "reflection_inference"}
"""The sentence that asks for reflection in each text."""


@dataclass(frozen=True, kw_only=True)
class PromptTexts:
    """The texts of one language. Slots are written `{{name}}`.

    draft: query, solution, reflection → a first thinking (paper.md §2.1); inference: query, reflection → the user
    turn under which solutions are scored (§2.2); edit: query, solution, before, segment, after, reflection → a better
    segment (§2.3); reverse: solution → the query it answers; classify: query, categories → a category id.
    `reflection`, `reflection_edit` and `reflection_inference` ask for reflection in a draft, an edit and at inference;
    `separator` stands between the phrases that they name. A text without such a sentence has no slot for it.
    A draft begins with one of `openers`, chosen by seed, or with one of `reflective_openers` where reflection is asked
    for and there are any (small models do not follow the request to reflect, but continue in the style of the opener).
    `edit_prefill` begins an edit. `edit_stops` are its stop strings: `</refine>` only where the prefill ends inside
    `<refine>`, because an analysis may name the tags.
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
    reflection_edit: str
    reflection_inference: str
    separator: str = "; "
    reflective_openers: tuple[str, ...] = ()
    edit_stops: tuple[str, ...] = ()
    verbatim: bool = False
    """Blank space at the ends of a text is sent too."""

    def __post_init__(self) -> None:
        for name, expected in self._expected_slots():
            got = slots(getattr(self, name))
            if got != expected:
                raise InputError(f"prompts: text {name!r} has slots {sorted(got)}, wants {sorted(expected)}")
        if "</refine>" in self.edit_stops and not self.edit_prefill.rstrip().endswith("<refine>"):
            raise InputError(
                "prompts: edit_stops has </refine>, which would end an analysis that names the tag; want it only where "
                "edit_prefill ends with <refine>"
            )
        if not self.openers:
            raise InputError("prompts: want at least one opener, got none")

    def _expected_slots(self) -> Iterator[tuple[str, set[str]]]:
        for name, expected in _SLOTS.items():
            sentence = SENTENCES.get(name)
            yield name, expected - {"reflection"} if sentence and not getattr(self, sentence) else expected
        for sentence in SENTENCES.values():
            yield sentence, {"triggers"} if getattr(self, sentence) else set()

    def render(self, kind: Kind, values: Mapping[str, str], prefill: str = "") -> Prompt:
        """The text `kind`, filled with `values`, as a user turn; the system turn comes first if there is one."""
        system = (Message("system", self.system),) if self.system else ()
        text = fill(getattr(self, kind), values)
        return Prompt((*system, Message("user", text if self.verbatim else text.strip())), prefill)


@dataclass(frozen=True)
class Triggers:
    """Reflection phrases per language; without phrases the prompts do not ask for reflection (paper.md §2.4)."""

    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()


@runtime_checkable
class PromptChoice(Protocol):
    """A choice of `prompts=`."""

    @property
    def name(self) -> str: ...

    def for_language(self, language: Language) -> PromptTexts:
        """The texts that complete pairs: `reverse` and `classify`."""
        ...

    def with_triggers(self, triggers: Triggers) -> BoundPrompts:
        """The prompts of drafts, edits and scores, which ask for reflection with these phrases."""
        ...


@dataclass(frozen=True)
class Prompts:
    """The prompt texts of both languages. A pair's language decides which are used."""

    name: Name
    en: PromptTexts
    zh: PromptTexts

    def for_language(self, language: Language) -> PromptTexts:
        return self.zh if language == "zh" else self.en

    def with_triggers(self, triggers: Triggers) -> BoundPrompts:
        """The prompts of drafts, edits and scores, which ask for reflection with these phrases."""
        return BoundPrompts(PairPrompts(self.en, triggers.en), PairPrompts(self.zh, triggers.zh))


@dataclass(frozen=True)
class BoundPrompts:
    """Prompt texts of both languages, each bound to its reflection phrases."""

    en: PairPrompts
    zh: PairPrompts

    def for_language(self, language: Language) -> PairPrompts:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class PairPrompts:
    """The prompts for pairs of one language. They ask for reflection with `phrases`, or not at all if it is empty."""

    texts: PromptTexts
    phrases: tuple[str, ...]

    @property
    def openers(self) -> tuple[str, ...]:
        """The openers a draft may begin with."""
        return (self.phrases and self.texts.reflective_openers) or self.texts.openers

    def reflection(self, sentence: str) -> str:
        """The sentence that asks for reflection; empty if there are no phrases."""
        return fill(sentence, {"triggers": self.texts.separator.join(self.phrases)}) if self.phrases else ""

    def draft(self, pair: Pair, opener: str) -> Prompt:
        """Asks for a first thinking that begins with `opener` (paper.md §2.1)."""
        reflection = self.reflection(self.texts.reflection)
        values = {"query": pair.query, "solution": pair.solution, "reflection": reflection}
        return self.texts.render("draft", values, prefill=f"<think>\n{opener}")

    def edit(self, pair: Pair, before: str, segment: str, after: str) -> Prompt:
        """Asks for a better version of `segment`, which is marked between the text before and after it (§2.3)."""
        values = {
            "query": pair.query,
            "solution": pair.solution,
            "before": before,
            "segment": segment,
            "after": after,
            "reflection": self.reflection(self.texts.reflection_edit),
        }
        return self.texts.render("edit", values, self.texts.edit_prefill)

    def inference(self, pair: Pair, prefill: str, with_instruction: bool) -> Prompt:
        """The context under which the solution is scored (§2.2); without the instruction the query is the whole user
        turn."""
        reflection = self.reflection(self.texts.reflection_inference)
        prompt = self.texts.render("inference", {"query": pair.query, "reflection": reflection}, prefill)
        if with_instruction:
            return prompt
        return Prompt((*prompt.messages[:-1], Message("user", pair.query)), prefill)
