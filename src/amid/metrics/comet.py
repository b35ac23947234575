"""COMET of translations: a learned metric behind the extra `comet`, because it needs its own 2.3 GB model."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from amid.metrics.metric import check_not_empty

DEFAULT_MODEL = "Unbabel/wmt22-comet-da"


def comet(
    sources: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    model: str = DEFAULT_MODEL,
    batch_size: int = 8,
    num_gpus: int = 0,
) -> float:
    """Mean COMET of the translations, times 100 (about 0 to 100 for the default model).

    Arguments and errors as in `comet_per_example`.
    """
    scores = comet_per_example(sources, predictions, references, model=model, batch_size=batch_size, num_gpus=num_gpus)
    return fsum(scores) / len(scores)


def comet_per_example(
    sources: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    model: str = DEFAULT_MODEL,
    batch_size: int = 8,
    num_gpus: int = 0,
) -> list[float]:
    """COMET of each translation against its source and its one reference, times 100.

    model: name of a COMET model on the hub; downloaded at first use.
    batch_size: translations per forward pass; it changes speed and memory only.
    Raises ImportError if the extra is not installed, ValueError if the three sequences differ in length or are empty.

    Source: SKD eval_mt.py.
    """
    if not len(sources) == len(predictions) == len(references):
        raise ValueError(
            "sources, predictions and references must have the same length, "
            f"got {len(sources)}, {len(predictions)} and {len(references)}"
        )
    check_not_empty(predictions)
    try:
        # Imported here: it brings torch, and every other metric must work without.
        from comet import download_model, load_from_checkpoint
    except ImportError as err:
        raise ImportError(
            "COMET needs the package unbabel-comet, which is not installed; install the extra: "
            "pip install 'amid-lab[comet]'"
        ) from err
    scorer = load_from_checkpoint(download_model(model))
    rows = [
        {"src": source, "mt": prediction, "ref": reference}
        for source, prediction, reference in zip(sources, predictions, references, strict=True)
    ]
    output = scorer.predict(rows, batch_size=batch_size, gpus=num_gpus)
    return [100.0 * float(score) for score in output.scores]
