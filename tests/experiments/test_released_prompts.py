"""The authors' prompts, fetched from a server on this machine as a script of the same form that the tests wrote."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from experiments.cli import main
from experiments.config.released_prompts import ReleasedPrompts
from experiments.doctor import require
from reer.errors import InputError
from reer.prompts import Triggers
from reer.types import Pair
from tests.fakes.http import QuietServer
from tests.fakes.plans import compose

SCRIPT = '''
import nothing_that_is_installed
raise SystemExit("the script was run")

default_sys = "Be of use."
templates = {
# a remark
"standard_inference_en": """Think of {} with a literal {{brace}}.
""",
"standard_inference_cn": """想：{}""",
"initial_thinking_en": """Task {} Text {} Say hmm, perhaps .. Stop .. or go on""",
"initial_thinking_cn": """任务{}文章{}嗯，试试""",
"segment_edits_en": """
Edit {} {} | {}<replace>{}</replace>{} | {}
""",
"segment_edits_cn": """改{}{}{}{}{}{}""",
}

class Refining:
    def step(self, suffix):
        pre_trigger = "Look closer.\\n" if suffix == "_en" else "再看看。\\n"
        return ask(prompt_suffix=pre_trigger+"<analyze>\\n", n=2)

def item(is_chinese):
    if is_chinese:
        if draw() > 0.5: pre_trigger = "好"
        else: pre_trigger = "呃"
    else:
        if draw() > 0.8: pre_trigger = "Well, I"
        elif draw() > 0.4: pre_trigger = "So, the"
        else: pre_trigger = "So"
'''
PHRASES = Triggers(en=("hmm, perhaps", "Stop ... or go on"), zh=("嗯，试试",))
PAIR = Pair(id="p", query="Q {z}", solution="S", category="others", language="en", source="t")
CHINESE = Pair(id="c", query="问", solution="文", category="others", language="zh", source="t")


def configured() -> ReleasedPrompts:
    prompts = compose("scale=smoke", "prompts=released").prompts
    assert isinstance(prompts, ReleasedPrompts)
    return prompts


def pin(script: str = SCRIPT) -> str:
    return hashlib.sha256(script.encode()).hexdigest()


def prompts_of(folder: Path, script: str = SCRIPT) -> ReleasedPrompts:
    """The prompts in a script."""
    (folder / "synthesize.py").write_text(script)
    prompts = configured()
    return replace(prompts, data=replace(prompts.data, folder=str(folder), sha256={"synthesize.py": pin(script)}))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of the script, at the place where the repository has it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    data = configured().data
    file = tmp_path / "server" / data.upstream / data.commit / data.sources["synthesize.py"].files["script"]
    file.parent.mkdir(parents=True)
    file.write_text(SCRIPT)
    server = QuietServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "server")))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_texts_are_those_of_the_script_with_its_places_filled(tmp_path: Path) -> None:
    bound = prompts_of(tmp_path).with_triggers(PHRASES)
    assert bound.en.draft(PAIR, "So").messages[-1].content == "Task Q {z} Text S Say hmm, perhaps .. Stop .. or go on"
    assert bound.en.inference(PAIR, "", True).messages[-1].content == "Think of Q {z} with a literal {brace}.\n"
    assert bound.en.edit(PAIR, "b", "s", "a").messages[-1].content == "\nEdit Q {z} S | b<replace>s</replace>a | s\n"
    assert bound.zh.draft(CHINESE, "好").messages[-1].content == "任务问文章文嗯，试试"
    assert bound.zh.edit(CHINESE, "前", "段", "后").messages[-1].content == "改问文前段后段"
    assert {prompt.draft(PAIR, "").messages[0].content for prompt in (bound.en, bound.zh)} == {"Be of use."}


def test_openers_and_the_beginning_of_edits_are_those_of_the_script(tmp_path: Path) -> None:
    bound = prompts_of(tmp_path).with_triggers(PHRASES)
    assert Counter(bound.en.openers) == {"Well, I": 5, "So, the": 12, "So": 8}
    assert Counter(bound.zh.openers) == {"好": 1, "呃": 1}
    assert bound.en.edit(PAIR, "", "s", "").prefill == "Look closer.\n<analyze>\n"
    assert bound.zh.texts.edit_prefill == "再看看。\n<analyze>\n"
    with pytest.raises(InputError, match=r"prompts\.opener_weights_en: want a weight for each of Well, I, So, the, So"):
        replace(prompts_of(tmp_path), opener_weights_en=(1, 1)).with_triggers(PHRASES)


def test_texts_that_complete_pairs_need_no_script() -> None:
    prompts = configured()
    assert prompts.for_language("en") == prompts.others.en
    assert "{{categories}}" in prompts.for_language("zh").classify


@pytest.mark.parametrize(
    ("triggers", "says"),
    [
        (Triggers(), "got no phrases; leave the triggers as they are"),
        (replace(PHRASES, en=("hmm, perhaps", "Good grief")), "got 'Good grief', which they do not name"),
    ],
)
def test_what_the_texts_cannot_leave_out_or_add_is_refused(tmp_path: Path, triggers: Triggers, says: str) -> None:
    with pytest.raises(InputError, match=rf"reflection\.triggers: .*{says}"):
        prompts_of(tmp_path).with_triggers(triggers)


@pytest.mark.parametrize(
    "script",
    [
        SCRIPT.replace("default_sys =", "other ="),
        SCRIPT.replace("initial_thinking_en", "first_thinking_en"),
        SCRIPT.replace("if is_chinese", "if is_english"),
        SCRIPT.replace("Task {} Text {}", "Task {} Text"),
        SCRIPT.replace("Task {} Text {}", "Task {} Text {} {}"),
        SCRIPT.replace("pre_trigger+", "trigger+"),
        "templates = {",
    ],
)
def test_a_script_of_another_form_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(InputError, match=r"prompts=released: synthesize\.py is not read: .*the pinned commit"):
        prompts_of(tmp_path, script).with_triggers(PHRASES)


def test_they_are_fetched_and_a_run_without_them_says_how(mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    exp = compose("scale=smoke", "prompts=released")
    with pytest.raises(InputError, match=r"prompts released: .*`reer fetch released_prompts`.*choose other prompts"):
        require(exp)
    settings = {"folder": "here", "mirror": mirror, "sha256": f"{{synthesize.py: {pin()}}}"}
    assert main(["fetch", "released_prompts", *(f"prompts.data.{key}={v}" for key, v in settings.items())]) == 0
    assert "licence MIT" in capsys.readouterr().out
    assert Path("here/synthesize.py").read_text() == SCRIPT
