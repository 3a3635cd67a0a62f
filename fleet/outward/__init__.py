"""What the control plane tells others by itself: traces, webhooks, Home Assistant, Sparkplug. One process of a fleet does it, the leader."""
