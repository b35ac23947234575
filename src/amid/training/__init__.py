"""Fitting a student: the plan, the step, checkpoints that survive a kill, and what is written down meanwhile."""
