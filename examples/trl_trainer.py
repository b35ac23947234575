"""AmidLoss in TRL's DistillationTrainer: the student writes, the teacher judges, AmidLoss compares them.

    pip install trl
    python examples/trl_trainer.py

`AmidDistillation` below is all that changes: TRL generates, batches, logs and saves as before.
"""

import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DistillationConfig, DistillationTrainer

from amid import AmidLoss

WORDS = ["<pad>", "<eos>", *(f"w{number}" for number in range(62))]


class AmidDistillation(DistillationTrainer):
    """TRL's trainer with D(p || r) of an alpha-mixture in place of its Jensen-Shannon divergence."""

    amid_loss = AmidLoss(alpha=-5.0, lam=0.1, shift_labels=True)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of one micro-batch of texts that the student wrote, divided by the tokens of the whole step."""
        tokens = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        labels = tokens.masked_fill(mask == 0, -100)
        labels[:, : inputs["prompt_ids"].shape[1]] = -100
        outputs = model(input_ids=tokens, attention_mask=mask)
        with torch.no_grad():
            taught = self.teacher_model(input_ids=tokens, attention_mask=mask).logits
        num_labelled = inputs.get("num_items_in_batch")  # of what was written, over all processes; absent in evaluation
        if num_labelled is not None:
            num_labelled = num_labelled.clamp(min=1) / self.accelerator.num_processes
        loss = self.amid_loss(outputs.logits, taught, labels, num_labelled=num_labelled)
        return (loss, outputs) if return_outputs else loss


def make_model(*, seed: int, layers: int, width: int) -> LlamaForCausalLM:
    """A random Llama of the given size."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word."""
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", clean_up_tokenization_spaces=False
    )


def main(num_steps: int = 20) -> list[float]:
    """Losses of every step."""
    prompts = Dataset.from_list([{"prompt": f"w{n % 62} w{n * 7 % 62} w{n * 3 % 62}"} for n in range(64)])
    with tempfile.TemporaryDirectory() as folder:
        arguments = DistillationConfig(
            folder,
            max_steps=num_steps,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            max_completion_length=8,
            learning_rate=1e-2,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            gradient_checkpointing=False,
        )
        trainer = AmidDistillation(
            model=make_model(seed=1, layers=1, width=16),
            teacher_model=make_model(seed=0, layers=2, width=32),
            args=arguments,
            train_dataset=prompts,
            processing_class=make_tokenizer(),
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
    return losses


if __name__ == "__main__":
    main()
