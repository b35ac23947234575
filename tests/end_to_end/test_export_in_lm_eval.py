"""An exported cell under lm-eval: log-likelihoods and texts are those of our own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cli import app as cli
from amid.experiment import Experiment, run_task
from amid.generation.decoding import Decoding
from amid.generation.engine import generate
from amid.generation.stopping import cut_at_stop
from amid.sweep.compose import run_of_overrides

pytestmark = pytest.mark.long
PAIRS = [("Say the number 7.", " seven"), ("Which colour has the sky?", " blue, as ever"), ("The cat", " sat")]
STOPS = ("e", "\n\n")
MAX_NEW_TOKENS = 12


def log_likelihood(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: str, text: str) -> float:
    """ln q(text | context), in nats."""
    whole, start = tokenizer(context + text)["input_ids"], len(tokenizer(context)["input_ids"])
    with torch.no_grad():
        log_q = model.eval()(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return float(sum(log_q[place - 1, whole[place]] for place in range(start, len(whole))))


def test_lm_eval_sees_the_cells_own_model(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    run = run_of_overrides([*SMALL, *folders])
    run_task(run)
    experiment = Experiment(run)
    words = ["export", experiment.cell.id, str(tmp_path / "out"), "--results", str(experiment.store.root)]
    cli.app(words, standalone_mode=False)
    own, tokenizer = experiment.stages.finished_student(experiment.cell), experiment.stages.tokenizer("student")
    theirs: Any = HFLM(pretrained=str(tmp_path / "out"), device="cpu", dtype="float32", batch_size=2)

    def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [Instance(request_type=kind, doc={}, arguments=each, idx=index) for index, each in enumerate(arguments)]

    found = theirs.loglikelihood(requests("loglikelihood", list(PAIRS)))
    due = [log_likelihood(own, tokenizer, *pair) for pair in PAIRS]
    assert [value for value, _ in found] == pytest.approx(due, abs=1e-3)  # float32
    assert len({round(value, 2) for value in due}) == len(due)

    options = {"until": list(STOPS), "max_gen_toks": MAX_NEW_TOKENS, "do_sample": False}
    texts = theirs.generate_until(requests("generate_until", [(context, options) for context, _ in PAIRS]))
    completions = generate(
        own,
        [tokenizer(context)["input_ids"] for context, _ in PAIRS],
        keys=[(0, index) for index in range(len(PAIRS))],
        decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS, temperature=0.0),
        eos_id=tokenizer.eos_token_id,
        batch_size=2,
    )
    ours = [tokenizer.decode(list(each.token_ids), skip_special_tokens=True) for each in completions]
    assert texts == [cut_at_stop(text, STOPS) for text in ours]
    assert any(texts)
