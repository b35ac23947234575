"""DistillModule under a Lightning Trainer of your own, on batches of your own loader.

    python examples/lightning_trainer.py

Two small random GPT-2 models; no download.
"""

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from amid import DistillModule
from amid.core import DivergenceTerm, Objective, constant, kl
from amid.data.batch import Batch, collate
from amid.pairs import Pair
from amid.training.optimisation import Optimisation

VOCAB_SIZE = 50


class Losses(lightning.Callback):
    """The loss after every epoch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Lightning calls it."""
        self.values.append(float(trainer.callback_metrics["loss"]))


def make_pair() -> Pair:
    """A random teacher, with an opinion, and a smaller student."""
    torch.manual_seed(0)
    size = {"n_positions": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    teacher, student = (GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB_SIZE, n_embd=width, **size)) for width in (32, 16))
    for weight in teacher.parameters():
        weight.data.mul_(4.0)
    return Pair(teacher, student, tokenizer=None, vocab_size=VOCAB_SIZE)


def make_batches() -> list[Batch]:
    """Four batches of eight sequences; labels are the response, its end-of-text included."""
    rows = [(torch.randint(VOCAB_SIZE, (4,)).tolist(), torch.randint(VOCAB_SIZE, (8,)).tolist()) for _ in range(32)]
    return [collate(rows[i : i + 8], example_ids=range(i, i + 8), pad_id=0) for i in range(0, 32, 8)]


def make_module(pair: Pair, *, num_steps: int) -> DistillModule:
    """KL(p || r) with the arithmetic mixture (alpha -1) as r."""
    objective = Objective((DivergenceTerm(kl, "pr", alpha=constant(value=-1.0), lam=constant(value=0.1)),))
    return DistillModule(pair, objective, Optimisation(total_steps=num_steps, lr=1e-2))


def main(num_epochs: int = 15) -> list[float]:
    """The loss after every epoch."""
    pair, batches, losses = make_pair(), make_batches(), Losses()
    module = make_module(pair, num_steps=num_epochs * len(batches))
    trainer = lightning.Trainer(
        max_epochs=num_epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[losses]
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    print(f"loss {losses.values[0]:.4f} -> {losses.values[-1]:.4f} in {trainer.global_step} steps")
    return losses.values


if __name__ == "__main__":
    main()
