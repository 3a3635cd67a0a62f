"""The contract between device and control plane, and between the processes of a device.

Owns the form of every message: topics, envelope, signed documents, desired and reported state, health, events,
commands, local messages, reason codes. Pure: no sockets, no files, no clock; times and random ids are arguments.
"""
