"""Ten-step curves of every method and strategy on the small pair: what a refactor must leave as it is.

python tests/end_to_end/golden_curves.py     writes tests/golden/curves.json anew; say in the commit why it changed
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from small import SMALL, STRATEGIES

from amid.experiment import Experiment, run_task
from amid.sweep.compose import run_of_overrides

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "curves.json"
LENGTH = (
    "train.max_steps=10",
    "train.validation={every_steps: 5, max_new_tokens: 6}",
    "data.max_tokens=340",  # at most 20 tokens of student-written text
    "trainer.log_every_steps=1",
    "plain_text.num_documents=60",
    "plain_text.chunk_tokens=32",
)
# Those with an objective of their own on the data they name, and those of the first curves on the data of that time.
WHOLE = ("sft", "kd", "gkd", "akl", "bdkd", "csd", "max_ab", "amid", "seqkd", "distillm2")
ON_GOLD = ("abkd", "amid", "distillm_skl", "distillm_srkl", "taid")
GOLD = ("strategy=fixed", "objective.lm_coef=0")
CASES = {
    **{f"method={name}": (f"method={name}",) for name in WHOLE},
    **{f"method={name} on gold": (f"method={name}", *GOLD) for name in ON_GOLD},
    **{f"strategy {name}": overrides for name, overrides in STRATEGIES.items()},
    "objective=mix": ("objective=mix",),
    "reduction=sequence_mean": ("objective.reduction=sequence_mean",),
    "micro batches, dropout": ("trainer.micro_batch_size=3", "pair.student_arch.dropout=0.1"),
}
CURVES = ("train/loss", "train/grad_norm", "val/loss", "val/rouge_l")


def curves_of(name: str, folder: Path) -> dict[str, list[float]]:
    """The curves of one case; cases that share a folder share their stages."""
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache", "evaluation.decode_seeds=[10]")
    run = run_of_overrides(_once([*SMALL, *LENGTH, *folders, *CASES[name]]))
    run_task(run)
    experiment = Experiment(run)
    lines = experiment.store.journal_path(experiment.cell).read_text().splitlines()
    metrics = [json.loads(line)["metrics"] for line in lines]
    return {curve: [line[curve] for line in metrics if curve in line] for curve in CURVES}


def _once(overrides: list[str]) -> list[str]:
    """Each key once: its last value."""
    return list({override.split("=")[0]: override for override in overrides}.values())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        curves = {name: curves_of(name, Path(scratch)) for name in sorted(CASES)}
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
