"""Who works on health and alerts for the whole fleet: the control plane itself while the fleet is small, else a process of its own."""
