"""Sinks: what a workflow does to the world outside. Each library is imported only where it is used, by the worker's threads."""
