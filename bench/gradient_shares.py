"""How much of the gradient responses of each length get, for batches drawn at random and batches of similar lengths.

    python bench/gradient_shares.py FOLDER        needs make setup-smollm2; FOLDER holds train.jsonl, such as Dolly

With a mean over the labelled tokens of each step, a token of a step of few tokens weighs more than one of a step of
many. Random batches hold about the same number of tokens each; batches of similar lengths do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amid.config import SMOLLM2_PACKAGE
from amid.data.loader import epoch_batches
from amid.data.records import records_of
from amid.data.rows import read_rows
from amid.data.tokenise import tokenise_records
from amid.pairs import load_tokenizer

BINS = (("under 20", 0, 20), ("20 to 49", 20, 50), ("50 to 150", 50, 151), ("over 150", 151, 10**9))
BATCH_SIZE, EPOCHS = 32, 3  # 32: the paper's GPT-2 students


def shares(lengths: list[int], responses: list[int], *, bucket_by_length: bool) -> list[float]:
    """Share of the gradient per bin of response lengths: of the mean over steps of each step's share."""
    totals = [0.0] * len(BINS)
    num_steps = 0
    for epoch in range(EPOCHS):
        batches = epoch_batches(lengths, batch_size=BATCH_SIZE, seed=0, epoch=epoch, bucket_by_length=bucket_by_length)
        for batch in batches:
            tokens = sum(responses[i] for i in batch)
            num_steps += 1
            for index, (_, low, high) in enumerate(BINS):
                totals[index] += sum(responses[i] for i in batch if low <= responses[i] < high) / tokens
    return [total / num_steps for total in totals]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tokenizer = load_tokenizer(SMOLLM2_PACKAGE, revision=None, cache=Path.home() / ".cache" / "amid")
    examples = tokenise_records(
        records_of(read_rows(folder / "train.jsonl")),
        tokenizer,
        max_prompt_tokens=256,
        max_tokens=512,
        truncate_prompt=False,
    )
    lengths, responses = [len(each) for each in examples], [len(each.response_ids) for each in examples]
    of_all = [sum(n for n in responses if low <= n < high) / sum(responses) for _, low, high in BINS]
    random = shares(lengths, responses, bucket_by_length=False)
    bucketed = shares(lengths, responses, bucket_by_length=True)
    print(f"{len(examples)} examples, batches of {BATCH_SIZE}, {EPOCHS} epochs")
    print(f"{'response tokens':<16}{'of all tokens':>14}{'random':>10}{'bucketed':>10}")
    for (name, _, _), *row in zip(BINS, of_all, random, bucketed, strict=True):
        print(f"{name:<16}{row[0]:>14.1%}{row[1]:>10.1%}{row[2]:>10.1%}")
    print(
        "RESULT bench-batches "
        f"short_random={random[0]:.3f} short_bucketed={bucketed[0]:.3f} "
        f"long_random={random[-1]:.3f} long_bucketed={bucketed[-1]:.3f}"
    )


if __name__ == "__main__":
    main()
