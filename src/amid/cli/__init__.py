"""The command line: its verbs, its exit codes. No torch when it is imported."""
