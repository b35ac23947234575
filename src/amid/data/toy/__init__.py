"""The embedded toy instruction corpus: drawn from a seed, in the Dolly schema, without files or network."""

from amid.data.toy.corpus import EVAL_SETS, TOY_VERSION, ToyCorpus, ToyRecord, toy_corpus

__all__ = ["EVAL_SETS", "TOY_VERSION", "ToyCorpus", "ToyRecord", "toy_corpus"]
