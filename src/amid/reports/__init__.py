"""Scores turned into what people read: tables and comparisons. No torch here."""
