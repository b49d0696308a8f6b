"""Small prompt texts in both languages."""

from dataclasses import replace

from reer.prompts import Prompts, PromptTexts, Triggers

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
)
CHINESE = replace(ENGLISH, system="", draft="稿：{{query}}{{solution}}{{reflection}}", openers=("好的，",))
PROMPTS = Prompts("test", ENGLISH, CHINESE)
TRIGGERS = Triggers(en=("Hmm", "Wait"), zh=("等等",))
