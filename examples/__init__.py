"""Examples that run: each folder has a page of its own."""
