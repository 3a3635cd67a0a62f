"""Where frames come from: sources, and the thread that reads one of them."""
