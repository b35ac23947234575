import random
import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from packaging.requirements import Requirement

from amid.generation.slot_cache import SlotCache


@pytest.mark.parametrize("seed", range(4))
def test_every_row_reads_exactly_what_it_wrote_while_others_come_and_go(seed):
    rng = random.Random(seed)
    num_slots = 5
    cache = SlotCache(num_slots=num_slots)
    texts = []  # what each row has written, oldest first
    number = 0.0

    def states(rows, width):
        # [rows, 1 head, width, size 1]; padding is a number no row writes
        padded = [[-1.0] * (width - len(row)) + row for row in rows]
        return torch.tensor(padded)[:, None, :, None]

    for _ in range(600):
        free = num_slots - len(texts)
        if free and (not texts or rng.random() < 0.2):
            new = [[number + i for i in range(rng.choice((1, 5, 90)))] for _ in range(rng.randint(1, free))]
            number += 100
            width = max(map(len, new))
            cache.add_rows(num_rows=len(new), width=width)
            assert cache.get_seq_length() == 0
            for layer in (0, 1):
                cache.update(states(new, width) + layer, -states(new, width), layer)
            texts += new
        else:
            number += 1
            texts = [[*text, number + i / 16] for i, text in enumerate(texts)]
            longest = max(map(len, texts))
            cache.add_column(longest=longest)
            last = states([text[-1:] for text in texts], 1)
            for layer in (0, 1):
                keys, values = cache.update(last + layer, -last, layer)
                assert keys.shape == values.shape == (len(texts), 1, longest, 1)
                assert cache.get_mask_sizes(1, layer) == (longest, 0)
                for row, text in enumerate(texts):
                    assert (keys[row, 0, longest - len(text) :, 0] - layer).tolist() == text
                    assert (-values[row, 0, longest - len(text) :, 0]).tolist() == text
            assert torch.isfinite(keys).all()
        if rng.random() < 0.3:
            keep = [rng.random() < 0.6 for _ in texts]
            texts = [texts[old] for old in cache.drop_rows(keep)]
            assert len(texts) == sum(keep)


def test_storage_stays_near_the_longest_row_however_many_rows_pass_through():
    cache = SlotCache(num_slots=2)
    for _ in range(50):
        cache.add_rows(num_rows=2, width=10)
        cache.update(torch.ones(2, 1, 10, 4), torch.ones(2, 1, 10, 4), 0)
        for length in range(11, 41):
            cache.add_column(longest=length)
            cache.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4), 0)
        cache.drop_rows([False, False])
    assert cache.slot_layers[0].stores[0].shape[2] <= 40 + 64


def test_the_library_whose_cache_classes_we_fill_is_bounded_and_installed_within_its_bounds():
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    (required,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "transformers")
    assert {spec.operator for spec in required.specifier} == {">=", "<"}
    assert transformers.__version__ in required.specifier
