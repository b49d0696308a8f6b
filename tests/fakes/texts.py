"""Short random texts in several scripts: prompts, and passages to score."""

from random import Random

from reer.models.protocols import Passage, Prompt
from reer.types import Message


def prompt(text: str, prefill: str = "") -> Prompt:
    return Prompt((Message("user", text),), prefill)


def random_text(draw: Random, least: int, most: int) -> str:
    return "".join(draw.choice("abc XYZ\n.,想é🙂0") for _ in range(draw.randint(least, most)))


def passages(count: int) -> list[Passage]:
    draw = Random(0)
    return [
        Passage(prompt(random_text(draw, 0, 60), random_text(draw, 0, 40)), random_text(draw, 1, 50))
        for _ in range(count)
    ]
