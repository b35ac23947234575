"""The embedded toy instruction corpus: drawn from a seed, in the Dolly schema, without files or network."""

from amid.data.toy.corpus import EVAL_SETS, TOY_VERSION, ToyCorpus, ToyRecord, toy_corpus
from amid.data.toy.plain_text import PLAIN_TEXT_VERSION, toy_documents

__all__ = ["EVAL_SETS", "PLAIN_TEXT_VERSION", "TOY_VERSION", "ToyCorpus", "ToyRecord", "toy_corpus", "toy_documents"]
