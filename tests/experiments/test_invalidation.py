"""The ablation table as a test: what each override changes, and the first stage it rebuilds."""

import pytest

from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from tests.fakes.plans import compose, plans

TABLE = [
    # override, first stage rebuilt (None: nothing), stages it must share with the baseline
    ("data=public_only", "mix", ["public"]),
    ("search=single_pass", "refine", ["pairs", "draft", "public"]),
    ("search.max_edits=6", "refine", ["pairs", "draft"]),
    ("search=random", "refine", ["pairs", "draft"]),
    ("search=multi_pass", "refine", ["pairs", "draft"]),
    ("search=multi_start", "refine", ["pairs", "draft"]),
    ("search=best_of_n", "refine", ["pairs", "draft"]),
    ("reflection=never", "draft", ["pairs"]),
    ("reflection=strip", "curate", ["pairs", "draft", "refine", "filter"]),
    ("reflection.public=strip", "mix", ["curate", "public"]),
    ("trajectory=short", "curate", ["pairs", "draft", "refine", "filter"]),
    ("trajectory=no_long", "curate", ["refine"]),
    ("trajectory=no_short", "curate", ["refine"]),
    ("categories=no_literature_arts", "curate", ["pairs", "draft", "refine", "filter"]),
    ("filters=paper", "draft", ["pairs"]),
    ("filters.max_leak=0.2", "filter", ["draft", "refine"]),
    ("scorer=as_written", "refine", ["draft"]),
    ("scorer=judge", "refine", ["draft"]),
    ("scorer=reward scorer.model.checkpoint.repo=o/n scorer.model.checkpoint.revision=r", "refine", ["draft"]),
    ("data.synthetic_share=0.5", "mix", ["curate", "public"]),
    ("trajectory=quarter_1", "curate", ["refine"]),
    ("prompts=reer", "pairs", ["public"]),
    ("generator.seed=1", "draft", ["pairs"]),
    ("data=answer_only", "mix", ["refine", "curate", "public"]),
    ("thinking=from_source", "source_thinking", ["pairs", "public"]),
    ("thinking=mismatched", "control", ["curate", "public"]),
    ("thinking=shuffled", "control", ["curate", "public"]),
    ("thinking=filler", "control", ["curate", "public"]),
    ("match=steps match.to=no_synthetic_data", "match", ["mix", "render"]),
    ("data.seed=1", "mix", ["refine", "curate", "public"]),
    ("seed=1", "train", ["draft", "refine", "mix", "render"]),
    ("train=tiny_lora", "train", ["render"]),
    ("train.repetition=1", "train", ["mix", "render"]),
    ("train.chat_format.answer_tags=true", "render", ["mix"]),
    ("experiment=foreign_template", "render", ["mix"]),
    ("scale.answer_tokens=8", "generate:writing", ["train", "perplexity"]),
    ("scale.benchmark_items=5", "generate:writing", ["train", "perplexity"]),
    ("benchmark.writing.items_seed=1", "generate:writing", ["train", "perplexity"]),
    ("scale.held_out_texts=3", "held_out", ["train", "termination", "grade:writing", "hygiene:writing"]),
    ("scale.held_out_thinking_tokens=8", "held_out_scores", ["train", "perplexity"]),
    ("answering=no_thinking", "generate:writing", ["train", "termination"]),
    ("answering=budget", "generate:writing", ["train", "termination"]),
    ("embedding=minilm", "anchoring", ["train", "perplexity"]),
    ("scale.anchoring_samples=1", "anchoring", ["train", "perplexity"]),
    ("judge=local", "grade:writing", ["train", "generate:writing"]),
    ("judge=paper", "grade:writing", ["train", "generate:writing"]),
    ("judge.attempts=3", "grade:writing", ["generate:writing"]),
    ("reliability.null_answer_items=2", "reliability:writing", ["grade:writing", "hygiene:writing"]),
    ("judge.usd_per_million_read=3", None, []),
    ("budget.usd=5", None, []),
    ("runtime.judgements=elsewhere", None, []),
    ("runtime=gpu", None, []),
    ("runtime.root=elsewhere", None, []),
    ("runtime.device.generate_rows=4", None, []),
    ("runtime.device.engines.restarts=1", None, []),
    ("runtime.placements.student={replicas:2}", None, []),
    ("engine=vllm", "termination", ["refine", "train"]),
    ("tracking=silent", None, []),
    ("tracking.project=other", None, []),
    ("name=other", None, []),
]


def steps(*overrides: str) -> dict[str, str]:
    return {str(name): step.fingerprint for name, step in pipeline(compose("scale=smoke", *overrides)).items()}


@pytest.fixture(scope="module")
def baseline() -> dict[str, str]:
    return steps()


@pytest.mark.parametrize(("override", "first", "shared"), TABLE, ids=[row[0] for row in TABLE])
def test_an_override_rebuilds_from_its_stage_on(
    override: str, first: str | None, shared: list[str], baseline: dict[str, str]
) -> None:
    changed = steps(*override.split())
    own = [name for name in changed if not name.endswith(":matched_to")]  # the others are of the arm it is matched to
    rebuilt = [name for name in own if changed[name] != baseline.get(name) and name != "overlap"]
    assert rebuilt[:1] == ([first] if first else [])
    assert all(changed[name] == baseline[name] for name in shared)


def test_everything_after_the_first_rebuilt_stage_is_rebuilt(baseline: dict[str, str]) -> None:
    changed = steps("trajectory=short")
    after = ["curate", "mix", "render", "anchoring", "train", "termination", "template", "perplexity"]
    after += ["generate:writing", "grade:writing", "hygiene:writing", "reliability:writing"]
    assert [name for name in changed if changed[name] != baseline[name]] == after


def test_a_given_thinking_is_that_of_the_same_student(baseline: dict[str, str]) -> None:
    own = set[str]()
    for answering in ("truncated_50", "swapped"):
        changed = steps(f"answering={answering}")
        assert [name for name in changed if changed[name] != baseline.get(name)][:2] == [
            "own_answers:writing",
            "generate:writing",
        ]
        own.add(changed["own_answers:writing"])
    assert len(own) == 1, "both use the same answers"


def test_an_arm_without_synthetic_data_asks_for_no_search() -> None:
    assert not {"pairs", "draft", "refine", "filter", "curate", "overlap", "anchoring"} & set(
        steps("experiment=no_synthetic_data")
    )


def test_arms_share_what_they_can() -> None:
    arms = {plan["name"]: pipeline(experiment_from(plan)) for plan in plans("sweep=ablations", "scale=smoke")}
    full = arms["full"]
    users = {
        name: sum(name in steps and steps[name].fingerprint == full[name].fingerprint for steps in arms.values())
        for name in full
    }
    users = {str(name): count for name, count in users.items()}
    assert [users[name] for name in ("pairs", "draft", "refine", "filter", "curate", "public")] == [5, 5, 4, 4, 1, 6]
    assert users["held_out"] == 6
