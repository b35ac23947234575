"""The batch: which position predicts what, and that padding and prompts never count."""

import pytest
import torch

from amid.data.batch import IGNORE_INDEX, collate

PAD = EOS = 9  # as in GPT-2: the pad token is the EOS
ROWS = [((1, 2, 3), (4, 5, EOS)), ((6,), (7, EOS)), ((1, EOS, 2, 3, 8), (EOS,))]


@pytest.fixture
def batch():
    return collate(ROWS, example_ids=[10, 20, 30], pad_id=PAD)


def pairs_of(batch, row):
    """(position, target) of every labelled position."""
    return [(i, int(label)) for i, label in enumerate(batch.labels[row]) if label != IGNORE_INDEX]


def test_a_batch_is_exactly_this():
    batch = collate([((1, 2), (3, EOS)), ((4,), (EOS,))], example_ids=[5, 6], pad_id=PAD)
    assert batch.input_ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.labels.tolist() == [[-100, 3, 9], [9, -100, -100]]
    assert batch.prompt_ids.tolist() == [[1, 2], [9, 4]]
    assert batch.prompt_mask.tolist() == [[True, True], [False, True]]
    assert batch.example_ids.tolist() == [5, 6]
    assert batch.source.tolist() == [0, 0]
    assert len(batch) == 2


def test_the_last_prompt_token_predicts_the_first_response_token(batch):
    assert pairs_of(batch, 0) == [(2, 4), (3, 5), (4, EOS)]
    assert pairs_of(batch, 1) == [(0, 7), (1, EOS)]


def test_no_prompt_token_is_a_label_and_every_response_token_is_one_once(batch):
    for row, (prompt, response) in enumerate(ROWS):
        found = pairs_of(batch, row)
        assert [label for _, label in found] == list(response)
        assert min(position for position, _ in found) == len(prompt) - 1


def test_eos_stays_labelled_when_it_is_the_pad_token(batch):
    assert all(pairs_of(batch, row)[-1][1] == EOS for row in range(3))


def test_an_eos_inside_a_prompt_is_attended_to_and_padding_is_not(batch):
    assert batch.attention_mask.sum(dim=1).tolist() == [len(prompt) + len(response) - 1 for prompt, response in ROWS]
    assert batch.attention_mask[2].all()


def test_padding_carries_no_label(batch):
    assert not (batch.labelled & ~batch.attention_mask).any()


def test_the_prompts_for_generation_are_the_prompts(batch):
    assert batch.prompts() == [list(prompt) for prompt, _ in ROWS]
    assert batch.prompt_mask[:, -1].all()  # left-padded


def test_a_row_without_response_has_no_labelled_position():
    batch = collate([((1, 2, 3), ())], example_ids=[0], pad_id=PAD)
    assert not batch.labelled.any()
    assert batch.input_ids.tolist() == [[1, 2]]


@pytest.mark.parametrize("size", [1, 2, 3, 4, None])
def test_micro_batches_keep_every_row_label_and_prompt(batch, size):
    parts = list(batch.split(size))
    assert sum(map(len, parts)) == len(batch)
    assert sum(int(part.labelled.sum()) for part in parts) == int(batch.labelled.sum()) == 6
    assert torch.cat([part.example_ids for part in parts]).tolist() == [10, 20, 30]
    assert [prompt for part in parts for prompt in part.prompts()] == batch.prompts()
    row = 0
    for part in parts:
        assert size is None or len(part) <= size
        for i in range(len(part)):
            assert pairs_of(part, i) == pairs_of(batch, row)
            row += 1


def test_micro_batches_are_as_wide_as_their_own_longest_row(batch):
    widths = [part.input_ids.shape[1] for part in batch.split(1)]
    assert widths == [5, 2, 5]
    assert [part.labels.shape[1] for part in batch.split(1)] == widths


def test_a_batch_on_another_device_is_the_same_batch(batch):
    moved = batch.to("cpu")
    assert torch.equal(moved.labels, batch.labels)
    assert moved.example_ids.tolist() == [10, 20, 30]
