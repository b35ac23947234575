"""Time of self-BLEU and ROUGE-L beside the implementations they replace.

    python bench/metrics.py
    python bench/metrics.py --jsonl generations.jsonl --field output

Every self-BLEU time includes tokenisation, with the tokeniser's cache emptied. NLTK and fast-bleu get ready tokens.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

from amid.metrics.rouge import rouge_l_per_example
from amid.metrics.self_bleu import self_bleu_per_text
from amid.metrics.words import bleu_words

SIZES = (100, 200, 400, 1_000, 2_000, 4_000, 10_000, 20_000)
NLTK_LIMIT = 400  # it is quadratic: 20,000 texts would take days
FAST_BLEU_LIMIT = 4_000  # linear as well, but slow enough to double the time of this run
NUM_ROUGE = 500  # the size of the dolly test set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jsonl", type=Path, help="real generations; repeated with a number appended where too few")
    parser.add_argument("--field", default="output", help="the field of the JSON lines that holds the text")
    parser.add_argument("--seed", type=int, default=0, help="of the texts made when no --jsonl is given")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    if arguments.jsonl is None:
        texts, origin = made_texts(SIZES[-1], rng), f"made texts, seed {arguments.seed}"
    else:
        texts, origin = read_texts(arguments.jsonl, arguments.field, SIZES[-1]), arguments.jsonl.name
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(f"{origin}; {words:.0f} words per text")
    self_bleu_s, over_nltk = bench_self_bleu(texts)
    speedup = bench_rouge(texts, rng)
    print(
        f"RESULT bench-metrics self_bleu_20000_s={self_bleu_s:.2f} over_nltk_400={over_nltk:.0f} "
        f"rouge_speedup={speedup:.1f}"
    )


def made_texts(num_texts: int, rng: np.random.Generator) -> list[str]:
    """Texts of 20 to 180 words whose frequencies follow Zipf's law, in sentences with punctuation."""
    vocabulary = [f"{''.join(rng.choice(list('abcdefghilmnoprstu'), size=rng.integers(2, 10)))}" for _ in range(20_000)]
    texts = []
    for num_words in rng.integers(20, 181, size=num_texts):
        ranks = np.minimum(rng.zipf(1.2, size=num_words), len(vocabulary)) - 1
        ends = np.where(rng.random(num_words) < 0.1, ".", np.where(rng.random(num_words) < 0.05, ",", ""))
        texts.append(" ".join(vocabulary[rank] + end for rank, end in zip(ranks, ends, strict=True)))
    return texts


def read_texts(path: Path, field: str, num_texts: int) -> list[str]:
    """The texts of a JSON-lines file, repeated with a running number appended until there are enough."""
    values = [json.loads(line)[field] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    texts = [value if isinstance(value, str) else value[0] for value in values]
    if not texts:
        raise SystemExit(f"{path} holds no lines")
    return [texts[i] if i < len(texts) else f"{texts[i % len(texts)]} {i // len(texts)}" for i in range(num_texts)]


def bench_self_bleu(texts: Sequence[str]) -> tuple[float, float]:
    """Seconds for the largest set, and NLTK's time over ours at NLTK_LIMIT texts."""
    fast_bleu = find_fast_bleu()
    columns = ["texts", "ours s", "us/text", "NLTK s", "ratio", "gap to NLTK", "fast-bleu s"]
    print("".join(f"{column:>13}" for column in columns) + ("" if fast_bleu else "  (not installed)"))
    ours = over_nltk = float("nan")
    for size in SIZES:
        ours, scores = seconds_of(partial(fresh_self_bleu, texts[:size]))
        cells = [f"{size}", f"{ours:.3f}", f"{1e6 * ours / size:.0f}"]
        tokens = [bleu_words(text) for text in texts[:size]]
        if size <= NLTK_LIMIT:
            nltk, expected = seconds_of(partial(nltk_self_bleu, tokens))
            over_nltk = nltk / ours
            gap = max(abs(a - b) for a, b in zip(scores, expected, strict=True))
            cells += [f"{nltk:.2f}", f"{over_nltk:.0f}", f"{gap:.1e}"]
        else:
            cells += ["-"] * 3
        if fast_bleu and size <= FAST_BLEU_LIMIT:
            cells.append(f"{seconds_of(partial(fast_bleu, tokens))[0]:.2f}")
        print("".join(f"{cell:>13}" for cell in cells), flush=True)
    return ours, over_nltk


def fresh_self_bleu(texts: Sequence[str]) -> list[float]:
    Tokenizer13a.__call__.cache_clear()
    TokenizerRegexp.__call__.cache_clear()
    return self_bleu_per_text(texts)


def nltk_self_bleu(tokens: list[list[str]]) -> list[float]:
    smoothing = SmoothingFunction(epsilon=0.1).method1
    return [
        float(sentence_bleu(tokens[:index] + tokens[index + 1 :], text, smoothing_function=smoothing)) if text else 0.0
        for index, text in enumerate(tokens)
    ]


def find_fast_bleu() -> Callable[[list[list[str]]], list[float]] | None:
    try:
        from fast_bleu import SelfBLEU
    except ImportError:
        return None
    return lambda tokens: SelfBLEU(tokens, {"four": (0.25, 0.25, 0.25, 0.25)}).get_score()["four"]


def bench_rouge(texts: Sequence[str], rng: np.random.Generator) -> float:
    """rouge-score's time over ours on NUM_ROUGE examples, our caches empty at the start."""
    predictions = list(texts[:NUM_ROUGE])
    # A reference shares most of its words with the prediction, in order, as a real one would.
    references = [[" ".join(word for word in text.split() if rng.random() < 0.7)] for text in predictions]
    ours, scores = seconds_of(lambda: rouge_l_per_example(predictions, references))
    again, _ = seconds_of(lambda: rouge_l_per_example(predictions, references))
    original, expected = seconds_of(lambda: rouge_l_per_example(predictions, references, engine="rouge_score"))
    if scores != expected:
        raise SystemExit("ROUGE-L differs from rouge-score; run the tests")
    line = f"ROUGE-L, {NUM_ROUGE} examples: rouge-score {original:.2f} s, ours {ours:.3f} s (stems known {again:.3f} s)"
    try:
        from rouge_score_rs import RougeScorer
    except ImportError:
        print(line + "; rouge-score-rs is not installed")
    else:
        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        rust, _ = seconds_of(
            lambda: [scorer.score(reference[0], text) for text, reference in zip(predictions, references, strict=True)]
        )
        print(line + f", rouge-score-rs {rust:.3f} s")
    return original / ours


def seconds_of(run: Callable[[], list[float]]) -> tuple[float, list[float]]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="nltk")  # it warns about every text without a common four-gram
    main()
