"""A module without a Trainer, whose step can be taken apart: two tiny models with random weights of some size."""

from types import SimpleNamespace

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amid.pairs import Pair
from amid.training.optimisation import Optimisation, StepOptions
from amid.training.step import DistillModule

VOCAB = 50


def model(seed, width):
    torch.manual_seed(seed)
    made = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=width, n_layer=1, n_head=2))
    for weight in made.parameters():
        weight.data.mul_(6.0)
    return made.eval()


def module_of(objective, *, options=None, **parts):
    """A DistillModule of one rank, ready to accumulate; options: StepOptions by name."""
    module = DistillModule(
        Pair(model(0, 16), model(1, 8), tokenizer=None, vocab_size=VOCAB),
        objective,
        Optimisation(total_steps=1, lr=1e-3),
        options=StepOptions(**(options or {})),
        **parts,
    )
    module._trainer = SimpleNamespace(world_size=1, strategy=None)
    module.manual_backward = lambda loss: loss.backward()
    module.on_fit_start()
    module.student.eval()
    return module
