"""Benchmarks: `python -m benchmarks.NAME --json` prints one JSON object with its figures. The budgets are the design's."""
