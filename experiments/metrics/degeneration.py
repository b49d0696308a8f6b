"""The template of training and of answers: what the stage measures."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.store.metrics import Detail, RowMetrics
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class TemplateMetrics(RowMetrics):
    """Training rows beside the saved model: `asked_otherwise` are rows whose prompt its chat template writes with other
    tokens, `without_end` are rows whose last token does not end an answer of the model."""

    asked_otherwise: int
    without_end: int

    def headline(self) -> str:
        if not self.asked_otherwise and not self.without_end:
            return f"{self.rows} training rows have the model's own template and end token"
        return (
            f"of {self.rows} training rows {self.asked_otherwise} have another template than the model is asked in, "
            f"{self.without_end} have no token that ends its answers"
        )

    def details(self) -> list[Detail]:
        return [
            Detail("training rows compared", str(self.rows)),
            Detail("in another template", str(self.asked_otherwise)),
            Detail("without an end token of the model", str(self.without_end)),
        ]


TEMPLATE = StageKey("template", TemplateMetrics)
