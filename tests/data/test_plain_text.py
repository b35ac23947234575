"""Plain text: what it is made of, how it is packed, and which chunks a step sees."""

import json
from itertools import islice

import pytest
import torch

from amid.config import PlainTextCfg
from amid.data.plain_documents import check_readable, plain_documents
from amid.data.plain_text import PlainBatches, check_enough_chunks, chunks_of, plain_batch
from amid.data.toy import toy_documents
from amid.errors import RequestError


def files(root, **named):
    for name, text in named.items():
        (root / name.replace("_", ".")).write_text(text)
    return PlainTextCfg(source="files", root=str(root), files=[name.replace("_", ".") for name in named])


def test_documents_are_packed_without_a_gap_and_end_with_eos(tmp_path, tokenizer):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in ("the cat", "\n\n", "sat on\n\n\nthe mat\n"))
    plain = files(tmp_path, a_jsonl=lines, b_txt="yes no maybe")
    expected = []
    for text in ("the cat", "sat on\nthe mat", "yes no maybe"):
        expected += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    chunks = chunks_of(plain, tokenizer, chunk_tokens=4, vocab_size=len(tokenizer))
    assert chunks.shape == (len(expected) // 4, 4)
    assert chunks.flatten().tolist() == expected[: chunks.numel()]
    plain.num_chunks = 2
    assert torch.equal(chunks_of(plain, tokenizer, chunk_tokens=4, vocab_size=len(tokenizer)), chunks[:2])


def test_a_chunk_with_a_token_that_a_model_lacks_is_left_out(tmp_path, tokenizer):
    plain = files(tmp_path, a_txt="the cat sat on the mat")
    whole = chunks_of(plain, tokenizer, chunk_tokens=2, vocab_size=len(tokenizer))
    limit = int(whole.max())
    kept = chunks_of(plain, tokenizer, chunk_tokens=2, vocab_size=limit)
    assert torch.equal(kept, whole[(whole < limit).all(dim=1)])
    assert len(kept) < len(whole)


def test_every_token_but_the_first_is_a_label():
    chunks = torch.arange(10).reshape(2, 5)
    batch = plain_batch(chunks, indices=[7, 3])
    assert batch.input_ids.tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert batch.labels.tolist() == [[1, 2, 3, 4], [6, 7, 8, 9]]
    assert bool(batch.attention_mask.all())
    assert batch.example_ids.tolist() == [7, 3]


def test_ranks_share_the_batch_of_a_step_and_a_pass_sees_every_chunk_once():
    chunks = torch.arange(14).reshape(7, 2)
    alone = PlainBatches(chunks, batch_size=2, seed=1)
    ranks = [PlainBatches(chunks, batch_size=2, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    seen = [alone(step).example_ids.tolist() for step in range(6)]
    for step, whole in enumerate(seen):
        parts = [rank(step).example_ids.tolist() for rank in ranks]
        assert [parts[0][0], parts[1][0]] == whole
    first = [index for step in seen[:3] for index in step]
    assert len(set(first)) == 6, "a pass drops its incomplete batch and repeats nothing"
    assert seen[:3] != seen[3:], "every pass has an order of its own"
    assert PlainBatches(chunks, batch_size=2, seed=1)(4).example_ids.tolist() == seen[4], "nothing is remembered"
    assert [PlainBatches(chunks, batch_size=2, seed=2)(step).example_ids.tolist() for step in range(3)] != seen[:3]


def test_the_generated_text_is_the_same_everywhere_and_more_of_it_begins_alike():
    texts = list(toy_documents(seed=0, num=5))
    assert list(islice(toy_documents(seed=0, num=50), 5)) == texts
    assert list(toy_documents(seed=1, num=5)) != texts
    assert texts[0].startswith("Everybody in Oakham knows Paul, who sews clothes in a shop.")
    assert not any("{" in text for text in toy_documents(seed=2, num=200))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"text": "a"}\n{"body": "b"}\n', (":2", "plain_text.field=text", "NoneType", "fields: body")),
        ('{"text": 3}\n', (":1", "must be a text", "int")),
        ("nonsense\n", (":1", "not a JSON object")),
        ("", ("holds no record",)),
    ],
)
def test_a_line_without_text_is_named(tmp_path, text, words):
    plain = files(tmp_path, a_jsonl=text)
    with pytest.raises(RequestError) as caught:
        list(plain_documents(plain))
    assert all(word in str(caught.value) for word in words)


def test_only_the_beginning_of_a_file_is_looked_at_before_a_run(tmp_path):
    check_readable(files(tmp_path, a_jsonl='{"text": "a"}\n{"body": "b"}\n'))
    with pytest.raises(RequestError, match=r"a\.jsonl:1"):
        check_readable(files(tmp_path, a_jsonl='{"body": "b"}\n'))
    (tmp_path / "b.txt").write_bytes(b"ab\xff")
    with pytest.raises(RequestError, match="no UTF-8 text \\(byte 2\\)"):
        check_readable(PlainTextCfg(source="files", root=str(tmp_path), files=["b.txt"]))


def test_too_little_text_is_refused_with_what_there_is():
    with pytest.raises(RequestError, match="plain_text.batch_size=4 needs .* of 2 tokens, the plain text fills 3"):
        check_enough_chunks(PlainTextCfg(), torch.zeros(3, 2), batch_size=4)
    with pytest.raises(RequestError, match="plain_text.num_chunks=5"):
        check_enough_chunks(PlainTextCfg(num_chunks=5), torch.zeros(3, 2), batch_size=2)
