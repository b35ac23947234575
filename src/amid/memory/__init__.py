"""Memory: what a model and a training need of it, counted from a configuration before anything is loaded."""
