"""Figures of the fleet and of the control plane for Prometheus."""
