"""How far the thinking of an arm leans on the solutions, with scripted models."""

from pathlib import Path

import pytest

from experiments.metrics.anchoring import AnchoringMetrics, SurprisalAnchoring
from experiments.stages import controls
from experiments.stages.anchoring import anchoring
from experiments.store.step import Step
from reer.curation.controls import ThinkingControl
from reer.models.local.checkpoints import TinyModel
from tests.fakes.curated import curated_texts
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

PAIRS, SAMPLES = 6, 4


def measured(
    root: Path, thinking: Step, *choices: str, samples: int = SAMPLES
) -> tuple[AnchoringMetrics, list[SurprisalAnchoring]]:
    exp = compose("scale=smoke", *choices)
    step = anchoring(
        trained_on=thinking,
        generator=exp.generator,
        scorer=exp.scorer,
        prompts=exp.prompts,
        triggers=exp.reflection.triggers,
        samples=samples,
        blind_tokens=50,
        embedding=exp.embedding,
    )
    artifact = a_store(root).build(step)
    return artifact.metrics, artifact.rows(SurprisalAnchoring)


def mismatched() -> Step:
    exp = compose("scale=smoke", "thinking=mismatched")
    assert isinstance(exp.thinking, ThinkingControl)
    return controls.control(
        curated=curated_texts(exp, PAIRS),
        control=exp.thinking,
        student=exp.student.checkpoint,
        markers=exp.reflection.markers,
        rows=PAIRS,
        seed=0,
    )


def test_a_thinking_that_is_the_solution_leans_on_it_as_far_as_one_can(tmp_path: Path) -> None:
    metrics, rows = measured(tmp_path, curated_texts(compose("scale=smoke"), PAIRS))
    assert (metrics.rows, metrics.lexical_recall, metrics.leak) == (PAIRS, 1, 1)
    assert metrics.scored + metrics.unscorable == SAMPLES
    assert len(rows) == metrics.scored > 1
    assert metrics.removed == pytest.approx(metrics.removed_by_solution, abs=0.05)
    assert metrics.removed_blind is not None
    assert metrics.removed is not None
    assert metrics.removed > metrics.removed_blind
    assert sum(category.rows for category in metrics.by_category.values()) == PAIRS


def test_the_thinking_of_another_pair_leans_on_nothing(tmp_path: Path) -> None:
    own, _ = measured(tmp_path, curated_texts(compose("scale=smoke"), PAIRS))
    other, _ = measured(tmp_path, mismatched())
    assert other.leak == 0
    assert (other.lexical_recall or 1) < 0.5
    assert (other.removed or 1) < (own.removed or 0)
    assert (other.removed_by_solution, other.removed_blind) == (own.removed_by_solution, own.removed_blind)


def test_without_samples_no_model_is_asked_and_words_are_still_compared(tmp_path: Path) -> None:
    metrics, rows = measured(tmp_path, curated_texts(compose("scale=smoke"), PAIRS), samples=0)
    assert (rows, metrics.scored, metrics.removed, metrics.lexical_recall) == ([], 0, None, 1)
    assert metrics.headline().startswith("lexical recall 1; the solution's surprisal removed –")


def test_a_reward_model_has_no_likelihoods_and_is_not_asked_for_them(tmp_path: Path) -> None:
    model = ("scorer.model.checkpoint.repo=owner/name", "scorer.model.checkpoint.revision=abc")
    metrics, rows = measured(tmp_path, curated_texts(compose("scale=smoke"), PAIRS), "scorer=reward", *model)
    assert (rows, metrics.scored, metrics.unscorable, metrics.lexical_recall) == ([], 0, 0, 1)


def test_an_embedding_measures_the_meaning_beside_other_pairs_and_a_blind_thinking(tmp_path: Path) -> None:
    folder = str(TinyModel(hidden=32, layers=1).fetch())
    choices = ("embedding=folder", f"embedding.checkpoint.path={folder}", "embedding.window=64")
    metrics, _ = measured(tmp_path, curated_texts(compose("scale=smoke"), PAIRS), *choices)
    assert metrics.similarity == pytest.approx(1, abs=1e-4), "the thinking is the solution"
    assert metrics.similarity_others is not None
    assert metrics.similarity_others < 0.9999
    assert metrics.similarity_blind is not None
