"""Measures a model on this machine as it will run here: engine process, slots, one process a camera."""
