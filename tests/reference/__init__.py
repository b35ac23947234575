"""Float64 re-derivations in probability space, written from the paper's formulas; used by tests only."""
