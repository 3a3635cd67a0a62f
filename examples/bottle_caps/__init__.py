"""Bottle caps on a conveyor: a synthetic camera, two detectors trained on it, and a workflow that rejects the bad ones."""
