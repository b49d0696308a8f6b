"""lm-eval's output as measures: one for each metric and answer filter, none silently over another."""

from evals.lm_harness import _documents, _measures

OUT = {
    "results": {
        "sums": {
            "alias": "sums",
            "exact_match,strict-match": 0.5,
            "exact_match_stderr,strict-match": 0.5,
            "exact_match,flexible-extract": 1.0,
            "exact_match_stderr,flexible-extract": 0.0,
            "acc,none": 0.5,
        }
    },
    "samples": {
        "sums": [
            {"doc_id": 0, "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 1, "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 0.0},
            {"doc_id": 0, "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 1, "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 0, "filter": "none", "metrics": ["acc", "text"], "acc": 1, "text": "not a number"},
        ]
    },
}


def test_each_answer_filter_is_a_measure_of_its_own() -> None:
    found = {m.name: (m.value, m.scored, m.total) for m in _measures("sums", OUT)}
    assert found == {
        "lm_eval/sums/exact_match@strict-match": (0.5, 2, 2),
        "lm_eval/sums/exact_match@flexible-extract": (1.0, 2, 2),
        "lm_eval/sums/acc": (0.5, 2, 2),
    }


def test_documents_are_kept_apart_by_filter() -> None:
    assert _documents("sums", OUT) == {
        "sums/exact_match@strict-match": {"sums-0": 1.0, "sums-1": 0.0},
        "sums/exact_match@flexible-extract": {"sums-0": 1.0, "sums-1": 1.0},
        "sums/acc": {"sums-0": 1.0},
    }
