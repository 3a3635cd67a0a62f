"""The schema's history. A release only adds migrations; the newest one is what `serve` demands."""
