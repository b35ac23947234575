"""Digests of what is on disk: files by their content, a store's files under a seal. No torch here."""
