"""Complete applications as workflow definitions, each with a clip to run it on and what must come out."""
