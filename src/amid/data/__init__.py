"""Records, their prompts, their tokens, and the batches made of them."""
