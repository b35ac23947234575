"""AmidLoss in a plain PyTorch loop, from hidden states and output heads.

    python examples/plain_loop.py

Two small random GPT-2 models and a toy corpus; no download. The same three lines work with any causal language model.
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amid import AmidLoss

VOCAB_SIZE = 200


def make_model(*, seed: int, layers: int, width: int) -> GPT2LMHeadModel:
    """A random GPT-2 of the given size."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=VOCAB_SIZE, n_positions=32, n_embd=width, n_layer=layers, n_head=2)
    return GPT2LMHeadModel(config)


def main(num_steps: int = 30) -> list[float]:
    """Losses of every step."""
    teacher = make_model(seed=0, layers=2, width=32).eval().requires_grad_(False)
    student = make_model(seed=1, layers=1, width=16)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-2)
    amid_loss = AmidLoss(alpha=-5.0, lam=0.1)
    generator = torch.Generator().manual_seed(2)
    losses = []
    for _ in range(num_steps):
        tokens = torch.randint(VOCAB_SIZE, (8, 17), generator=generator)
        inputs, labels = tokens[:, :-1], tokens[:, 1:].clone()
        labels[:, :4] = -100  # the prompt carries no loss
        with torch.no_grad():
            taught = teacher.transformer(inputs).last_hidden_state
        hidden = student.transformer(inputs).last_hidden_state
        loss = amid_loss(hidden, taught, labels, student_head=student.lm_head, teacher_head=teacher.lm_head)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {num_steps} steps")
    return losses


if __name__ == "__main__":
    main()
