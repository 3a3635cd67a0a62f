"""Judging a change by this device's own figures: blocks, baseline, drift, gates, verdict. Pure: no clock, no files, no device."""
