"""Rollouts: a change goes to devices in waves, is judged, and stops by itself. `decision` is pure; `runner` is dull."""
