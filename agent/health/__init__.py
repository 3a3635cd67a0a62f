"""Health figures of the device: the machine, its accelerators, cameras, models, the outbox."""
