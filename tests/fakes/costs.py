"""The cost assumptions that `scale=paper` plans with."""

from reer.search.cost import CostAssumptions

ASSUMED = CostAssumptions(
    query_tokens=250,
    solution_tokens=2000,
    thinking_tokens=2200,
    segments=12,
    steps=8,
    rewrite_tokens=500,
    inference_template_tokens=1150,
    edit_template_tokens=640,
    generator_reads_per_second=5500,
    generator_writes_per_second=1300,
    scorer_reads_per_second=16000,
    usd_per_device_hour=2.5,
    public_tokens=6000,
    train_tflops=270,
    answer_tokens=2500,
    verdict_tokens=250,
    verdicts_per_second=5,
)
