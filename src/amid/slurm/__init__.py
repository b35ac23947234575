"""Slurm as its commands show it: the script of an array, what is queued, and how a job is put back in the queue."""
