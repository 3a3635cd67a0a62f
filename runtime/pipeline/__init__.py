"""One camera's process: frames in, results and events out. `python -m runtime.pipeline --link-fd N` starts it."""
