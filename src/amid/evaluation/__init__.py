"""From a model's texts to its scores: protocol, responses, metrics of each set."""
