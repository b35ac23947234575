"""Figures: views of the scores and journals of a sweep, of formulas and of the toy experiment, each with its claim."""
