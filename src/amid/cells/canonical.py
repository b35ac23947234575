"""The canonical form of values: what is hashed when a cell or a stage is named. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from amid.errors import RequestError

# Bumped when code changes the numbers of a cell or stage, together with the changelog.
CELL_VERSION = 2
ID_DIGITS = 12
# Values that mean "as before this field existed"; left out of the hash, so that ids of older cells survive a new field.
# Frozen: never edit a line, only add one with a new field.
NEUTRAL: Mapping[str, Any] = {
    "amid.detach_student": False,
    "data.num_train": None,
    "data.num_dev": None,
    "data.truncate_prompt": False,
    "objective.reduction": "global_token_mean",
    "objective.terms": None,
    "pair.eos": None,
    "pair.vocab_policy": "strict",
    "student_init.arch": None,
    "student_init.eos": None,
    "student_init.keep_layers": None,
    "student_init.sft.max_steps": None,
    "student_init.sft.warmup_steps": 0,
    "student_init.tokenizer": None,
    "teacher.arch": None,
    "teacher.eos": None,
    "teacher.sft.max_steps": None,
    "teacher.sft.warmup_steps": 0,
    "teacher.tokenizer": None,
    "teacher": None,
    "student_init.sft.num_train": None,
    "student_init.sft.validation.every_steps": None,
    "student_init.sft.validation.num_examples": None,
    "teacher.sft.num_train": None,
    "teacher.sft.validation.every_steps": None,
    "teacher.sft.validation.num_examples": None,
    "train.bucket_by_length": False,
    "train.max_steps": None,
    "train.validation.every_steps": None,
    "train.validation.num_examples": None,
    "compat.alpha_ge1_geometric": False,
    "compat.native_loss_dtype": False,
    "compat.ab_constants": False,
    "compat.akl_swapped": False,
    "compat.abkd_prefactors": False,
    "compat.micro_batch_mean": False,
    "compat.sgo_label_offset": False,
    "compat.sgo_rank_local_coin": False,
    "compat.validation_batch_mean": False,
    "compat.skd_fresh_test": False,
    "divergence.function": None,
    "divergence.version": 1,
    "objective.lm_coef": 0.0,
    "objective.lm_kd_ratio": 0.0,
    "plain_text.num_chunks": None,
    "corpus": None,
    "beside": None,
    "train.validation.rounds": None,
    "student_init.sft.validation.rounds": None,
    "teacher.sft.validation.rounds": None,
    "train.lr_schedule": "cosine",
    "train.betas": [0.9, 0.999],
    "train.eps": 1e-8,
    "student_init.sft.lr_schedule": "cosine",
    "student_init.sft.betas": [0.9, 0.999],
    "student_init.sft.eps": 1e-8,
    "teacher.sft.lr_schedule": "cosine",
    "teacher.sft.betas": [0.9, 0.999],
    "teacher.sft.eps": 1e-8,
}


def canonical(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """The canonical form: floats normalised, +-inf as strings, neutral values and empty nodes left out.

    Raises RequestError for NaN.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in NEUTRAL and value == NEUTRAL[path]:
            continue
        if isinstance(value, Mapping):
            node = canonical(value, prefix=f"{path}.")
            if node:
                result[key] = node
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            result[key] = [canonical(item) for item in value]  # each with nodes of its own, neutral as at the top
        else:
            result[key] = _canonical_scalar(path, value)
    return result


def _canonical_scalar(path: str, value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        number = value
        if math.isnan(number):
            raise RequestError(f"{path} must be a number, got nan")
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        return int(number) if number.is_integer() else number  # -5, -5.0 and -0.0 have one form each
    if isinstance(value, (list, tuple)):
        return [_canonical_scalar(path, item) for item in value]
    raise AssertionError(f"{path}: {type(value).__name__} has no canonical form")
