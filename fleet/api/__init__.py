"""The HTTP API: one router a concern, errors as problem+json."""
