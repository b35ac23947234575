"""AmidLoss in the Hugging Face Trainer, from logits.

    python examples/hf_trainer.py

`num_items_in_batch` is the number of labelled tokens of the whole optimiser step, so that gradient accumulation does
not change the loss.
"""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from amid import AmidLoss

VOCAB_SIZE = 200


class RandomText(Dataset):
    """Sequences of random tokens; the first four of each are the prompt."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(VOCAB_SIZE, (16,), generator=torch.Generator().manual_seed(index))
        labels = tokens.clone()
        labels[:4] = -100
        return {"input_ids": tokens, "labels": labels}


class DistillationTrainer(Trainer):
    """A Trainer whose loss compares the student with a frozen teacher."""

    def __init__(self, *args, teacher, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = teacher.eval().requires_grad_(False).to(self.args.device)
        self.amid_loss = AmidLoss(alpha=-5.0, lam=0.1, shift_labels=True)
        # The loss is divided by num_items_in_batch here, so the Trainer must not divide again.
        self.model_accepts_loss_kwargs = True

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The distillation loss of one micro-batch, divided by the labelled tokens of the whole step."""
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        with torch.no_grad():
            taught = self.teacher(**inputs).logits
        loss = self.amid_loss(outputs.logits, taught, labels, num_labelled=num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def make_model(*, seed: int, layers: int, width: int) -> GPT2LMHeadModel:
    """A random GPT-2 of the given size."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB_SIZE, n_positions=32, n_embd=width, n_layer=layers, n_head=2))


def main(num_steps: int = 20) -> list[float]:
    """Losses of every logged step."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=num_steps,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = DistillationTrainer(
            make_model(seed=1, layers=1, width=16),
            arguments,
            train_dataset=RandomText(),
            teacher=make_model(seed=0, layers=2, width=32),
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
    return losses


if __name__ == "__main__":
    main()
