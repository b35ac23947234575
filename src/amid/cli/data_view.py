"""`amid data`: training examples as the model will see them. Imports torch: only while the verb runs."""

from __future__ import annotations

from transformers.utils import logging as transformers_logging

from amid.cli.printing import say, say_spans
from amid.config import RunCfg
from amid.data.prompt import asking_of
from amid.data.records import Record
from amid.data.splits import drawn, training_records
from amid.data.view import part_of, spans_of
from amid.errors import RequestError
from amid.pairs import shared_ids
from amid.sweep.trials import sizes_of_role, tokenizers_of


def show_data(run: RunCfg, *, num: int, color: bool) -> None:
    """Prints what becomes of the records, and the first `num` examples. Trains nothing and writes nothing.

    color: of labels, in place of brackets. Raises RequestError for data that cannot be read, or asked so.
    """
    transformers_logging.set_verbosity_error()
    data = run.data
    train, dev = training_records(data)
    tokenizers = tokenizers_of(run, train, None)
    tokenizer = tokenizers["teacher"]
    vocab_size = shared_ids(
        [sizes_of_role(run, role, each).vocab_size for role, each in tokenizers.items()], tokenizers.values()
    )
    used = [train[place] for place in drawn(len(train), data.num_train, seed=data.split_seed)]
    parts: dict[str, list[Record]] = {"training": used, "validation": dev}
    found = {
        name: part_of(
            records,
            tokenizer,
            max_prompt_tokens=data.max_prompt_tokens,
            max_tokens=data.max_tokens,
            truncate_prompt=data.truncate_prompt,
            asking=asking_of(data),
            vocab_size=vocab_size,
        )
        for name, records in parts.items()
    }
    examples = found["training"].examples
    if not examples:
        raise RequestError(f"no training record can be used within data.max_prompt_tokens={data.max_prompt_tokens}")
    if run.pair.tokenizer_vocab_size is not None:
        say(f"tokenizer: {len(tokenizer)} tokens, trained just now as its stage will be, and not kept")
    for name, part in found.items():
        say(f"{name}: {part.summary}")
        for count, what in part.changed:
            say(f"  {count} of {part.num_records} {what}")
    if run.corpus.is_written:
        say(f"corpus.writer={run.corpus.writer}: responses are written later; those of the data are shown")
    say(f"labels are {'coloured' if color else 'between [[ and ]]'}; every other token is read and not learnt")
    for example in examples[:num]:
        record = used[example.index]
        place = f" ({record.where})" if record.where else ""
        say(f"\n--- record {record.id}{place}: {len(example)} tokens, {example.num_labels} labels")
        say_spans(spans_of(example, tokenizer), color=color)
