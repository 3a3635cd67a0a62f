"""A whole Outrider on one machine: control plane, broker, an enrolled agent, one camera, one model, and a swap on request."""
