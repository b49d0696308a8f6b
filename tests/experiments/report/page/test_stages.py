"""The graph of stages, what arms share, and what it took."""

from collections.abc import Sequence

from experiments.report.page.stages import StageUse, duration, nodes_of, seconds_chart


def use(name: str, *inputs: str, results: Sequence[str] = ("a",), seconds: float = 1.0) -> StageUse:
    of_run = {f"run{i}": result for i, result in enumerate(results)}
    return StageUse(name=name, results=of_run, inputs=inputs, seconds=seconds, saved=0.0)


PIPELINE = (
    use("pairs"),
    use("draft", "pairs"),
    use("refine", "pairs", "draft"),
    use("public"),
    use("mix", "refine", "public"),
    use("train", "mix"),
    use("texts"),
    use("perplexity", "train", "texts"),
    use("generate", "train"),
    use("grade", "generate"),
)


def test_a_step_stands_below_all_that_it_reads() -> None:
    nodes = nodes_of(PIPELINE)
    for node in nodes.values():
        assert all(nodes[name].layer < node.layer for name in node.use.inputs), node.use.name


def test_a_step_without_inputs_stands_just_above_its_first_reader() -> None:
    nodes = nodes_of(PIPELINE)
    assert nodes["public"].layer == nodes["mix"].layer - 1
    assert nodes["texts"].layer == nodes["perplexity"].layer - 1


def test_lines_that_follow_from_others_are_left_out() -> None:
    assert nodes_of(PIPELINE)["refine"].reads == ("draft",)


def test_the_way_to_most_steps_is_the_leftmost_lane_and_no_two_steps_share_a_place() -> None:
    nodes = nodes_of(PIPELINE)
    lanes = {name: node.lane for name, node in nodes.items()}
    assert {lanes[name] for name in ("pairs", "draft", "refine", "mix", "train", "generate", "grade")} == {0}
    assert len({(node.layer, node.lane) for node in nodes.values()}) == len(nodes)


def test_results_are_counted_once() -> None:
    assert use("draft", results=("a", "a", "b")).distinct == 2


def test_durations_have_two_or_three_digits() -> None:
    assert [duration(seconds) for seconds in (0.2, 42, 600, 40_000)] == ["0 s", "42 s", "10 min", "11.1 h"]


def test_seconds_are_drawn_for_every_stage() -> None:
    spec = seconds_chart(PIPELINE).to_dict()
    (dataset,) = (
        [layer["data"]["values"] for layer in [spec]] if "data" in spec else [spec["layer"][0]["data"]["values"]]
    )
    assert {row["stage"] for row in dataset} == {step.name for step in PIPELINE}
