"""A finished cell as a model that others load: weights, tokenizer, card, GGUF; written whole or not at all."""
