"""examples/lightning_trainer.py: the module under a Lightning Trainer of the user's own."""

import importlib.util
from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

FILE = Path(__file__).resolve().parents[2] / "examples" / "lightning_trainer.py"
# Importing Lightning ends its own filters; what it advises a training loop of a few steps is not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("lightning_trainer", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trainer(*callbacks, epochs=15):
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[*callbacks]
    )


def test_the_example_lowers_the_loss_and_leaves_the_teacher_alone(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair, batches, losses = example.make_pair(), example.make_batches(), example.Losses()
    module, own = example.make_module(pair, num_steps=60), trainer(losses)
    own.fit(module, DataLoader(batches, batch_size=None))
    teacher, student = pair.teacher, pair.student
    assert own.global_step == 60
    assert not teacher.training and not any(weight.requires_grad for weight in teacher.parameters())
    assert not any("teacher" in name for name in module.state_dict()), "the teacher is in no checkpoint"
    before, after = losses.values[0], losses.values[-1]
    assert after < 0.7 * before, losses.values
    batch = batches[0]
    with torch.no_grad():
        p, q = (each(input_ids=batch.input_ids).logits[batch.labelled].log_softmax(-1) for each in (teacher, student))
    log_r = (0.1 * p.exp() + 0.9 * q.exp()).log()  # alpha -1, lam 0.1
    assert float((p.exp() * (p - log_r)).sum(-1).mean()) == pytest.approx(after, rel=0.5), "it is that objective"


def test_a_loader_that_gives_something_else_is_told_what_to_give(example):
    module = example.make_module(example.make_pair(), num_steps=60)
    with pytest.raises(TypeError, match=r"loader must give an amid\.data\.batch\.Batch, got int"):
        trainer().fit(module, DataLoader([1, 2], batch_size=None))
