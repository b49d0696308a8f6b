"""`prompts=released`: the authors' own prompts, read from their script at run time and never contained in the project.

The script is fetched from their repository (`reer fetch released_prompts`), pinned by its sha256, and read as a syntax
tree: nothing of it is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from string import Formatter

from pydantic import PositiveInt

from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.extract import UNREADABLE, assigned, text_of
from reer.errors import InputError
from reer.parts import Name
from reer.prompts import BoundPrompts, Prompts, PromptTexts, Triggers
from reer.types import Language

SCRIPT = "synthesize.py"
SUFFIXES: dict[Language, str] = {"en": "en", "zh": "cn"}
SLOTS = {  # what each text of theirs is filled with, in order
    "initial_thinking": ("query", "solution"),
    "standard_inference": ("query",),
    "segment_edits": ("query", "solution", "before", "segment", "after", "segment"),
}

_ELLIPSIS = re.compile(r"\.\.\.|…+")


@dataclass(frozen=True, kw_only=True)
class PromptFiles(DataFiles):
    """The script that holds the prompts."""

    @property
    def key(self) -> str:
        return "prompts.data"

    @property
    def instead(self) -> str:
        return "choose other prompts"


@dataclass(frozen=True, kw_only=True)
class ReleasedPrompts:
    """The released prompts for drafts, edits and scores. `others` gives the texts that complete pairs, of which the
    authors released none."""

    name: Name
    data: PromptFiles
    others: Prompts
    opener_weights_en: tuple[PositiveInt, ...]
    """How often each opener of a draft is taken, in the order of the script."""
    opener_weights_zh: tuple[PositiveInt, ...]

    def for_language(self, language: Language) -> PromptTexts:
        return self.others.for_language(language)

    def with_triggers(self, triggers: Triggers) -> BoundPrompts:
        """The released prompts. Raises InputError if the script is missing, and for phrases that they do not name,
        because their texts ask for reflection themselves and cannot be changed."""
        script = _script(self.data.read(SCRIPT))
        weights = {"en": self.opener_weights_en, "zh": self.opener_weights_zh}
        texts = Prompts(
            self.name,
            en=script.texts("en", weights["en"], self.others.en),
            zh=script.texts("zh", weights["zh"], self.others.zh),
        )
        _refuse_other_phrases(triggers.en, texts.en.draft)
        _refuse_other_phrases(triggers.zh, texts.zh.draft)
        return texts.with_triggers(triggers)


def _refuse_other_phrases(phrases: Sequence[str], draft: str) -> None:
    absent = [phrase for phrase in phrases if not all(part.strip() in draft for part in _ELLIPSIS.split(phrase))]
    if absent or not phrases:
        got = f"{absent[0]!r}, which they do not name" if absent else "no phrases"
        raise InputError(
            f"reflection.triggers: prompts=released ask for reflection in their own text, got {got}; leave the "
            "triggers as they are (reflection=inject or strip), or choose other prompts"
        )


@dataclass(frozen=True, kw_only=True)
class Script:
    """What stands in the authors' script: texts by their names, and what drafts and edits begin with by language."""

    system: str
    texts_by_name: dict[str, str]
    openers: dict[Language, tuple[str, ...]]
    edit_prefills: dict[Language, str]

    def texts(self, language: Language, weights: Sequence[int], others: PromptTexts) -> PromptTexts:
        """The texts of one language. Raises InputError for weights that do not fit."""
        openers = self.openers[language]
        if len(weights) != len(openers):
            raise InputError(
                f"prompts.opener_weights_{language}: want a weight for each of {', '.join(openers)}; got {len(weights)}"
            )
        return replace(
            others,
            system=self.system,
            draft=self.texts_by_name[f"initial_thinking_{SUFFIXES[language]}"],
            inference=self.texts_by_name[f"standard_inference_{SUFFIXES[language]}"],
            edit=self.texts_by_name[f"segment_edits_{SUFFIXES[language]}"],
            edit_prefill=self.edit_prefills[language],
            edit_stops=(),
            openers=tuple(opener for opener, n in zip(openers, weights, strict=True) for _ in range(n)),
            reflective_openers=(),
            reflection="",
            reflection_edit="",
            reflection_inference="",
            verbatim=True,
        )


def _with_slots(template: str, slots: Sequence[str]) -> str:
    """A template of `str.format` with its places named as ours are."""
    names = iter(slots)
    parts = [
        literal + ("" if field is None else f"{{{{{next(names)}}}}}")
        for literal, field, _, _ in Formatter().parse(template)
    ]
    if next(names, None) is not None:
        raise ValueError(f"want {len(slots)} places in a prompt")
    return "".join(parts)


@cache
def _script(python: bytes) -> Script:
    """The prompts in the script. Raises InputError for one of another form."""
    try:
        return _read(python)
    except (*UNREADABLE, StopIteration) as error:
        raise InputError(
            f"prompts=released: {SCRIPT} is not read: {error}; use the file at the pinned commit"
        ) from None


def _read(python: bytes) -> Script:
    nodes = assigned(python, ["templates", "default_sys"])
    table = nodes["templates"]
    if not isinstance(table, ast.Dict):
        raise InputError("templates: want a dict of texts")
    tree = ast.parse(python.decode("utf-8"))
    chinese, english = next(_openers(tree))
    edits, tag = next(_edit_prefills(tree)), next(_suffixes(tree))
    templates = {
        text_of(key, "templates"): text_of(value, "templates")
        for key, value in zip(table.keys, table.values, strict=True)
        if key is not None
    }
    return Script(
        system=text_of(nodes["default_sys"], "default_sys"),
        texts_by_name={
            f"{name}_{suffix}": _with_slots(templates[f"{name}_{suffix}"], slots)
            for name, slots in SLOTS.items()
            for suffix in SUFFIXES.values()
        },
        openers={"en": english, "zh": chinese},
        edit_prefills={"en": edits[0] + tag, "zh": edits[1] + tag},
    )


def _openers(tree: ast.AST) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The texts of `if is_chinese: pre_trigger = …`, and of its other branch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "is_chinese":
            yield tuple(_triggers(node.body)), tuple(_triggers(node.orelse))


def _triggers(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The texts assigned to `pre_trigger`, branch after branch."""
    for node in body:
        match node:
            case ast.If(body=first, orelse=other):
                yield from _triggers(first)
                yield from _triggers(other)
            case ast.Assign(targets=[ast.Name(id="pre_trigger")], value=ast.Constant(value=str(text))):
                yield text


def _edit_prefills(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """English and Chinese of `pre_trigger = … if … else …`."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="pre_trigger")], value=ast.IfExp(body=english, orelse=chinese)):
                yield text_of(english, "pre_trigger"), text_of(chinese, "pre_trigger")


def _suffixes(tree: ast.AST) -> Iterator[str]:
    """What follows the trigger in `prompt_suffix=pre_trigger + …`."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="prompt_suffix", value=ast.BinOp(left=ast.Name(id="pre_trigger"), right=tag)):
                yield text_of(tag, "prompt_suffix")
