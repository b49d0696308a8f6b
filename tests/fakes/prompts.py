"""Short prompt texts in two languages with all slots."""

from dataclasses import replace

from reer.prompts import Prompts, PromptTexts, Triggers
from reer.search.rewrite import RewriteRules

ENGLISH = PromptTexts(
    system="Be kind.",
    draft="Draft: {{query}} | {{solution}} | {{reflection}}",
    openers=("Okay, I see", "Alright, now"),
    inference="Think: {{query}} {{reflection}}",
    edit="{{query}}|{{solution}}|{{before}}<replace>{{segment}}</replace>{{after}}{{reflection}}",
    edit_prefill="Let me see.\n<analyze>",
    reverse="Which request? {{solution}}",
    reverse_fallback="Write a text that begins: {{opening}}",
    classify="{{query}} One of {{categories}}",
    reflection="Say {{triggers}}.",
    reflection_edit="Edit {{triggers}}.",
    reflection_inference="Think {{triggers}}.",
)
CHINESE = replace(ENGLISH, system="", draft="稿：{{query}}{{solution}}{{reflection}}", openers=("好的，",))
PROMPTS = Prompts("test", ENGLISH, CHINESE)
TRIGGERS = Triggers(en=("Hmm", "Wait"), zh=("等等",))
BOUND = PROMPTS.with_triggers(TRIGGERS)
GUARDED = RewriteRules(
    after_analysis=True,
    refuse_empty=True,
    refuse_tags=True,
    copied_characters=40,
    same_language=True,
    growth=4,
    growth_words=40,
)
RELEASED = RewriteRules(
    after_analysis=False,
    refuse_empty=False,
    refuse_tags=False,
    copied_characters=None,
    same_language=False,
    growth=None,
    growth_words=40,
)
