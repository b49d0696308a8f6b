"""Configurations are code: every choice composes, every typo stops before any work."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import cycle, product, zip_longest
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from experiments.config.choices import COMPOSED_OF, CONF
from experiments.config.compose import compose_plans
from experiments.config.names import derived_name
from experiments.config.parts import PARTS, experiment_from, kinds
from experiments.pipeline import pipeline
from experiments.store.step import StepName
from reer.errors import InputError
from reer.parts import build
from tests.conftest import ARMS as SIX_ARMS
from tests.fakes.plans import compose as one
from tests.fakes.plans import plan, plans

ARMS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))
GIVEN = {
    ("source", "jsonl"): ["source.path=FILE"],
    ("source", "gutenberg"): ["source.repo=owner/name", "source.revision=abc"],
    ("public", "jsonl"): ["public.path=FILE"],
    ("scorer", "reward"): ["scorer.model.checkpoint.repo=owner/name", "scorer.model.checkpoint.revision=abc"],
    ("engine", "sglang"): ["train.precision=bfloat16"],
    ("embedding", "folder"): ["embedding.checkpoint.path=FOLDER"],
    ("model", "folder"): ["generator.model.checkpoint.path=FOLDER"],
    ("model", "server"): ["generator.model.model=m", "generator.model.base_url=http://localhost:1/v1"],
    ("judge", "server"): ["judge.model.model=m", "judge.model.base_url=http://localhost:1/v1"],
}
KEYS = {"model": "model@generator.model"}
SCORES_ONLY = {("model", "sglang"), ("model", "vllm")}
CHOICES = [
    (folder.name, file.stem)
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name not in ("experiment", "scale", "sweep", "design", "claims")
    for file in sorted(folder.glob("*.yaml"))
]


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """What a choice asks the user for, with files that are there."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "q", "answer": "a", "question": "q"}\n')
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors
    (tmp_path / "data").mkdir()
    places = {"FILE": str(rows), "FOLDER": str(tmp_path), "DATA": str(tmp_path / "data")}

    def fill(group: str, choice: str) -> list[str]:
        lines = GIVEN.get((group, choice), [])
        return [line.split("=")[0] + "=" + places.get(line.split("=")[1], line.split("=")[1]) for line in lines]

    return fill


def arms_and_scales() -> list[tuple[str, str]]:
    """The paper's arms at every scale; each other arm at one, and all scales among them."""
    others = [arm for arm in ARMS if arm not in SIX_ARMS]
    return [*product(SIX_ARMS, SCALES), *zip(others, cycle(SCALES), strict=False)]


@pytest.mark.parametrize(("arm", "scale"), arms_and_scales())
def test_every_arm_and_every_scale_composes_and_plans(arm: str, scale: str) -> None:
    steps = pipeline(one(f"experiment={arm}", f"scale={scale}"))
    assert list(steps)[-1].stage in ("grade", "harness", "reliability", "anchoring", "held_out_scores")
    assert len({step.fingerprint for step in steps.values()}) == len(steps)


def rounds() -> list[list[tuple[str, str]]]:
    """Every choice once: the first of each group, the second of each group, and so on."""
    by_group = [[choice for choice in CHOICES if choice[0] == group] for group in dict.fromkeys(g for g, _ in CHOICES)]
    return [list(filter(None, together)) for together in zip_longest(*by_group)]


@pytest.mark.parametrize("choices", rounds(), ids=lambda choices: "+".join(name for _, name in choices))
def test_every_yaml_composes_and_plans(choices: list[tuple[str, str]], given: Callable[[str, str], list[str]]) -> None:
    overrides: list[str] = []
    for group, choice in choices:
        key = "model@scorer_model" if (group, choice) in SCORES_ONLY else KEYS.get(group, group)
        overrides += [f"{key}={f'[{choice}]' if group == 'benchmark' else choice}", *given(group, choice)]
    assert pipeline(one("scale=smoke", *overrides))


def test_every_choice_is_in_a_round() -> None:
    assert sorted(choice for together in rounds() for choice in together) == sorted(CHOICES)


PARTS_CHOSEN = [choice for choice in CHOICES if choice[0] in PARTS and choice != ("benchmark", "none")]


@pytest.mark.parametrize(("group", "choice"), PARTS_CHOSEN)
def test_every_yaml_begins_with_its_schema_or_another_of_its_group(group: str, choice: str) -> None:
    text = (CONF / group / f"{choice}.yaml").read_text()
    first = next(line for line in text.split("\n") if line.startswith("defaults: ["))
    parent = first.removeprefix("defaults: [").split(",")[0].split("@")[0]
    schemas = {f"{name}_schema" for name in PARTS[group]}
    assert parent in schemas or (CONF / group / f"{parent}.yaml").exists()


def test_every_sweep_varies_keys_that_exist() -> None:
    """The last value of every sweep, composed together; arms are composed by themselves above."""
    last: dict[str, str] = {}
    for file in sorted((CONF / "sweep").glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        params = content["hydra"]["sweeper"]["params"] if content else {}
        last |= {key: str(values).split(",")[-1] for key, values in params.items()}
        assert set(str(params.get("experiment", "full")).split(",")) <= set(ARMS), file.name
    del last["experiment"], last["scorer"]  # scorer=judge scores no tokens, so it refuses what other sweeps vary
    assert pipeline(one("scale=smoke", *(f"{key}={value}" for key, value in last.items())))


def test_a_chat_server_cannot_be_the_scorer() -> None:
    server = [
        "model@generator.model=server",
        "generator.model.model=m",
        "generator.model.base_url=http://localhost:1/v1",
    ]
    assert one("scale=smoke", *server).generator.model.model == "m"
    with pytest.raises(InputError, match="returns no log-probabilities"):
        one("scale=smoke", "scorer=as_written", *server)


def test_a_typo_on_the_command_line_names_the_near_choice() -> None:
    with pytest.raises(InputError, match=r"search\.n_candidate: unknown key; .*did you mean n_candidates"):
        one("search.n_candidate=3")
    with pytest.raises(InputError, match="serch: no such group or key; did you mean search"):
        one("serch=single_pass")
    with pytest.raises(InputError, match=r"search=singel_pass: no such choice; .*did you mean single_pass"):
        one("search=singel_pass")


@pytest.mark.parametrize(
    "override",
    [
        "runtime.placements.scorer.gpus=[1]",
        "runtime.placements.scorer={gpus:[1]}",
        "estimate.rates.mine={engine:vllm,precision:fp8,billions:1,reads_per_second:1,writes_per_second:{1:1},source:s}",
    ],
)
def test_a_setting_that_a_choice_leaves_out_is_added_with_a_plus(override: str) -> None:
    beside = ("scale=single_gpu", "runtime=gpu", "estimate=h100", "runtime.width=2")
    with pytest.raises(InputError, match=rf"no value to override there; .* a \+ adds it: \+{re.escape(override)}$"):
        one(*beside, override)
    assert one(*beside, f"+{override}")


def test_a_setting_within_one_that_is_not_there_is_named_whole() -> None:
    with pytest.raises(InputError, match=re.escape("+estimate.rates.mine.billions=3")):
        one("estimate=h100", "estimate.rates.mine.billions=3")


def test_a_typo_in_a_file_fails_like_one_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    shutil.copytree(CONF, tmp_path / "conf")
    with (tmp_path / "conf/search/iterative.yaml").open("a") as stream:
        stream.write("max_edit: 3\n")
    monkeypatch.setattr("experiments.config.compose.CONF", tmp_path / "conf")
    with pytest.raises(InputError, match="max_edit"):
        one("scale=smoke")


def test_a_wrong_value_names_its_key() -> None:
    with pytest.raises(InputError, match=r"search\.max_edits: .*integer"):
        one("search.max_edits=many")
    with pytest.raises(InputError, match=r"search\.max_edits: Input should be greater than or equal to 0, got -1"):
        one("search.max_edits=-1")


def test_a_value_that_is_asked_for_is_named() -> None:
    with pytest.raises(InputError, match=r"source\.path has no value; add source\.path="):
        one("source=jsonl")


def test_without_a_benchmark_there_is_no_judge_to_check_or_to_warn_of() -> None:
    exp = one("scale=smoke", "benchmark=none")
    assert (exp.benchmarks, exp.judges) == ({}, {})
    assert list(one("scale=smoke").judges) == ["judge"]


def test_a_multirun_composes_every_job_before_the_first() -> None:
    jobs = plans("scale=smoke", "experiment=full,short_trajectories", "seed=0,1", multirun=True)
    assert [(job["name"], job["seed"]) for job in jobs] == [
        ("full", 0),
        ("full", 1),
        ("short_trajectories", 0),
        ("short_trajectories", 1),
    ]
    with pytest.raises(InputError, match="no_such_arm"):
        compose_plans(["scale=smoke", "experiment=full,no_such_arm"], multirun=True)


def test_the_named_sweep_is_the_six_arms_with_the_baseline_first() -> None:
    names = [plan["name"] for plan in plans("sweep=ablations", "scale=smoke")]
    assert names[0] == "full"
    assert sorted(names) == sorted(SIX_ARMS)


def test_several_values_without_a_multirun_are_refused() -> None:
    with pytest.raises(InputError, match="add -m"):
        compose_plans(["seed=0,1"], multirun=False)


def test_a_crossed_arm_gets_a_name_of_its_own() -> None:
    assert derived_name("full", ["search=single_pass", "scale=smoke", "seed=3"]) == "full+search=single_pass"
    assert derived_name("full", ["source.path=/some/where/texts.jsonl"]) == "full+source.path=texts.jsonl"
    assert derived_name("mine", ["name=mine", "search=single_pass"]) == "mine"


def test_long_names_of_different_arms_stay_different() -> None:
    common = ["search.threshold=0.123456789", "search.n_candidates=12345678", "generator.temperature=0.7654321"]
    names = [derived_name("full", [*common, f"train.learning_rate={rate}"]) for rate in ("1e-5", "2e-5")]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 80
    assert derived_name("full", [*common, "train.learning_rate=1e-5"]) == names[0]


def test_a_plan_comes_back_as_the_same_experiment() -> None:
    import json

    frozen = plan("scale=smoke")
    assert experiment_from(json.loads(json.dumps(frozen))) == experiment_from(frozen)


def test_a_plan_of_another_version_is_refused() -> None:
    with pytest.raises(InputError, match=r"os\.system"):
        experiment_from({"kind": "os.system"})


@pytest.mark.parametrize("value", ["sk-abcdefghijklmnop1234", "hf_abcdefghijklmnopqrstuv", "http://me:word@host/v1"])
def test_a_value_that_looks_like_a_secret_is_refused(value: str) -> None:
    given = ["scale=smoke", "judge=server", "judge.model.base_url=http://localhost:1/v1", "judge.model.model=m"]
    with pytest.raises(InputError, match="environment variable"):
        one(*given, f"tracking.entity='{value}'")


@pytest.mark.parametrize(
    "arm", ["experiment=no_synthetic_data", "data=answer_only", "search=single_pass", "trajectory=no_long"]
)
def test_any_arm_is_matched_to_the_baseline_however_it_is_chosen(arm: str) -> None:
    x = one("scale=smoke", arm, "match=steps")
    assert (x.match.by, x.matched_to.name) == ("steps", "full")
    baseline = pipeline(one("scale=smoke"))[StepName("render")]
    assert pipeline(x)[StepName("match")].inputs["target"].fingerprint == baseline.fingerprint
    assert "match=steps" in x.name
    named = one("scale=smoke", arm, "match=tokens", "name=mine")
    assert named.matched_to is not None


def test_the_baseline_of_a_matched_sweep_is_left_as_it_is() -> None:
    x = one("scale=smoke", "match=steps")
    assert (x.name, x.match.by, x.matched_to) == ("full", "none", None)
    to_full = one("scale=smoke", "experiment=no_synthetic_data", "match=steps", "match.to=full")
    plain = one("scale=smoke", "experiment=no_synthetic_data", "match=steps")
    assert pipeline(to_full)[StepName("train")].fingerprint == pipeline(plain)[StepName("train")].fingerprint


def test_a_limit_of_the_scale_stands_in_the_name() -> None:
    assert derived_name("full", ["scale=smoke", "scale.pairs=4"]) == "full+scale.pairs=4"


def test_a_value_out_of_range_is_named_by_its_key() -> None:
    with pytest.raises(InputError, match=r"^judge\.model\.attempts: Input should be greater than 0, got 0$"):
        compose_plans(["scale=smoke", "judge=openai", "judge.model.attempts=0"], multirun=False)


def holds_float(hint: Any) -> bool:
    return hint is float or any(holds_float(inner) for inner in get_args(hint))


def float_fields() -> Iterator[tuple[str, str]]:
    for name, cls in kinds().items():
        hints = get_type_hints(cls)
        yield from ((name, item.name) for item in fields(cls) if item.init and holds_float(hints[item.name]))


@pytest.mark.parametrize(("kind", "field"), sorted(float_fields()))
def test_no_number_of_any_part_may_be_infinite_or_not_a_number(kind: str, field: str) -> None:
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match=rf"^part\.{field}: want a finite number"):
            build({"kind": kind, field: number}, kinds(), "part")


def changed(key: str, value: object) -> dict[str, Any]:
    """The plan of the smoke scale with one value changed."""
    content = plan("scale=smoke")
    *folders, last = key.split(".")
    inner = content
    for name in folders:
        inner = inner[name]
    inner[last] = value
    return content


BOUNDS = [
    ("scale.pairs", 0),
    ("scale.min_words", 0),
    ("scale.answer_tokens", -5),
    ("scale.termination_samples", 0),
    ("scale.synthetic_rows", -3),
    ("judge.max_tokens", 0),
    ("judge.top_p", 5),
    ("generator.top_p", 0),
    ("generator.temperature", -1),
    ("benchmark.writing.items_limit", 0),
    ("benchmark.writing.min_coverage", 2),
    ("benchmark.writing.top_p", 5),
    ("benchmark.writing.temperature", -1),
    ("train.learning_rate", 0),
    ("train.learning_rate", "nan"),
    ("train.epochs", math.inf),
    ("source.min_votes", math.nan),
    ("runtime.width", 0),
    ("seed", 2**32),
    ("seed", -1),
]


@pytest.mark.parametrize(("key", "value"), BOUNDS)
def test_a_bound_that_makes_no_sense_is_refused_at_its_key(key: str, value: object) -> None:
    """Before any work, not after the training."""
    with pytest.raises(InputError, match=rf"^{key}: .*(got {value!r}|finite number)"):
        experiment_from(changed(key, value))


@pytest.mark.parametrize(
    "key", ["name", "baseline", "scale.name", "judge.name", "source.name", "public.name", "data.name", "runtime.name"]
)
@pytest.mark.parametrize("name", ["../../../escaped", "a/b", "/absolute", "..", "", "🙂"])
def test_a_name_that_becomes_a_path_stays_inside_the_root(key: str, name: str) -> None:
    with pytest.raises(InputError, match=rf"^{key}: want 1 to 80 of A-Z"):
        experiment_from(changed(key, name))


def test_the_name_of_a_benchmark_stays_inside_the_root() -> None:
    content = plan("scale=smoke")
    content["benchmark"]["../../x"] = content["benchmark"].pop("writing")
    with pytest.raises(InputError, match=r"^benchmark\.\.\./\.\./x.*: want 1 to 80 of A-Z"):
        experiment_from(content)


def test_texts_cannot_be_longer_than_their_upper_limit_and_shorter_too() -> None:
    with pytest.raises(InputError, match=r"scale\.min_words: want at most scale\.solution_words \(400\), got 500"):
        experiment_from(changed("scale.min_words", 500))


@pytest.mark.parametrize("override", ["+search.max_edit=0", "+search._target_=os.system", "+_target_=os.system"])
def test_a_key_that_no_part_has_is_refused_and_never_called(override: str) -> None:
    with pytest.raises(InputError, match=r"(unknown key|no such group or key)"):
        compose_plans(["scale=smoke", override], multirun=False)


def test_a_baseline_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A run of the root and another job of the command are baselines, too."""
    with pytest.raises(InputError, match=r"^baseline: want the name of an experiment or of a run in .*, got 'fulll'"):
        compose_plans(["scale=smoke", "baseline=fulll"], multirun=False)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    assert compose_plans(["scale=smoke", "baseline=mine", f"runtime.root={tmp_path}"], multirun=False)
    assert compose_plans(["scale=smoke", "baseline=mine", "name=mine"], multirun=False)


@pytest.mark.parametrize(
    "values",
    [
        ["seed=3"],
        ["search.max_edits=2", "search.max_edits=1"],
        ["budget.usd=null", "scale.pairs=5"],
        ["runtime.gpu_slots=[0,'0,1']"],
        ["name='a-name'", "generator.temperature=1e-1"],
    ],
    ids=" ".join,
)
def test_values_set_after_a_kept_composition_are_those_that_hydra_would_set(values: list[str]) -> None:
    from hydra import compose, initialize_config_dir

    from experiments.config.schema import plan_of

    one("scale=smoke")  # kept
    with initialize_config_dir(str(CONF), version_base="1.3"):
        wanted = plan_of(compose("config", overrides=["scale=smoke", *values]))
    given = compose_plans(["scale=smoke", *values], False)[0]
    derived = {key: given[key] for key in ("name", "contract", COMPOSED_OF)}
    assert given == {**wanted, **derived}
