"""docs/training.md, as written: the module under a Lightning Trainer of the user's own."""

import re
from pathlib import Path

import pytest
import torch

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()
# Importing Lightning ends its own filters; what it advises a training loop of a few steps is not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def documented(name: str) -> str:
    """The Python block of the page that defines or uses a name."""
    found = [block for block in re.findall(r"```python\n(.*?)```", DOCS, re.S) if name in block]
    assert len(found) == 1, name
    return found[0]


def test_the_documented_training_lowers_the_loss_and_leaves_the_teacher_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(documented("lightning.Trainer("), space)
    module, teacher, student = space["module"], space["teacher"], space["student"]
    assert module.trainer.global_step == 60
    assert not teacher.training and not any(weight.requires_grad for weight in teacher.parameters())
    assert not any("teacher" in name for name in module.state_dict()), "the teacher is in no checkpoint"
    before, after = space["losses"][0], space["losses"][-1]
    assert after < 0.7 * before, space["losses"]
    batch = space["batches"][0]
    with torch.no_grad():
        p, q = (each(input_ids=batch.input_ids).logits[batch.labelled].log_softmax(-1) for each in (teacher, student))
    log_r = (0.1 * p.exp() + 0.9 * q.exp()).log()  # alpha -1, lam 0.1
    assert float((p.exp() * (p - log_r)).sum(-1).mean()) == pytest.approx(after, rel=0.5), "it is that objective"


def test_a_loader_that_gives_something_else_is_told_what_to_give():
    space = {}
    text = documented("lightning.Trainer(")
    exec(
        text.replace("DataLoader(batches, batch_size=None)", "DataLoader([1, 2], batch_size=None)").split(
            "trainer.fit"
        )[0],
        space,
    )
    with pytest.raises(TypeError, match=r"loader must give an amid\.data\.batch\.Batch, got int"):
        space["trainer"].fit(space["module"], space["loader"])
