"""Frames to results: cameras, models, workflows. Imported by nobody but `outrider`; the agent runs it as child processes."""
