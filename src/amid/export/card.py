"""The model card of an export: README.md with the fields that a model hub reads, and what a person asks.

No torch here.

Nothing of the machine it was made on is in it: folders are named by their last part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from amid.export.licence import Licence, licence_fields
from amid.export.results import Result
from amid.reports.columns import aligned, widths_of

PAPER = "AMiD: Knowledge Distillation for LLMs with alpha-mixture Assistant Distribution (ICLR 2026)"


@dataclass(frozen=True)
class Facts:
    """What a card says of a cell. settings: name and value of each row of its first table; the order is theirs.

    bases, datasets: hub names only. base_relation: finetune or adapter. command: what makes the cell again.
    endings: the tokens that end its texts. notes: a sentence each, on what was written.
    """

    cell_id: str
    teacher: str
    student: str
    settings: Sequence[tuple[str, str]]
    command: str
    endings: Sequence[str]
    bases: Sequence[str] = ()
    base_relation: str = "finetune"
    datasets: Sequence[str] = ()
    notes: Sequence[str] = ()
    results: Sequence[Result] = field(default_factory=tuple)


def model_card(facts: Facts, *, name: str, licence: Licence | None, adapter: bool) -> ModelCard:
    """The card of a model that is called `name`."""
    main = [result for result in facts.results if result.main]
    fields = licence_fields(licence)
    data = ModelCardData(
        model_name=name,
        license=fields["license"],
        license_name=fields.get("license_name"),
        license_link=fields.get("license_link"),
        base_model=list(facts.bases) or None,
        base_model_relation=facts.base_relation if facts.bases else None,
        datasets=list(facts.datasets) or None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["knowledge-distillation", "amid", *(["lora"] if adapter else [])],
        metrics=list(dict.fromkeys(result.metric for result in main)) or None,
        eval_results=[_evaluation(result) for result in main] or None,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{_text(facts, name=name, licence=licence, adapter=adapter)}")


def _evaluation(result: Result) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type=result.eval_set,
        dataset_name=result.eval_set,
        metric_type=result.metric,
        metric_value=round(result.mean, 4),
    )


def _text(facts: Facts, *, name: str, licence: Licence | None, adapter: bool) -> str:
    use = _ADAPTER_USE if adapter else _USE
    parts = [
        f"# {name}",
        f"{facts.student}, distilled from {facts.teacher} with AMiD Lab: {PAPER}.",
        *([] if licence is not None else [_UNFILLED]),
        "## How it was made",
        _table([("", ""), *((f"{key}", value) for key, value in facts.settings)], num_left=2),
        "The same cell again, in a checkout of AMiD Lab:",
        f"```bash\n{facts.command}\n```",
        "## Scores",
        _scores(facts.results),
        "## Use",
        f"```python\n{use}```",
        f"Texts end with {' or '.join(f'`{text}`' for text in facts.endings)}.",
        *facts.notes,
    ]
    return "\n" + "\n\n".join(parts) + "\n"


_UNFILLED = (
    "> **The licence is not filled in.** Name the one that the licences of student, teacher and data allow in the "
    "fields `license`, `license_name` and `license_link` above, and remove this line."
)
_USE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
"""
_ADAPTER_USE = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")
"""


def _scores(results: Sequence[Result]) -> str:
    if not results:
        return "It was not evaluated."
    header = ("set", "metric", "mean", "95 % interval", "std over seeds", "seeds", "examples")
    rows = [
        (
            result.eval_set,
            result.metric,
            _number(result.mean),
            "-" if result.interval is None else f"[{_number(result.interval.low)}, {_number(result.interval.high)}]",
            "-" if result.std is None else _number(result.std),
            str(result.num_seeds),
            str(result.num_examples),
        )
        for result in results
    ]
    note = (
        "Means over decode seeds; intervals by bootstrap over examples, each example's mean over the seeds. "
        "Metrics of a whole set have none."
    )
    return f"{_table([header, *rows], num_left=2)}\n\n{note}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def _table(rows: Sequence[tuple[str, ...]], *, num_left: int) -> str:
    header, *body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = widths_of([header, *body])
    rule = ["-" * max(3, width) for width in widths]
    lines = aligned([header, rule, *body], num_left=num_left, separator=" | ")
    return "\n".join(f"| {line} |" for line in lines)
