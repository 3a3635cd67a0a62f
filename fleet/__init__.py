"""The control plane: devices, models, workflows, desired state, what devices say of themselves.

Imports `wire` only; the runtime is reached as child processes. One process serves the HTTP API, supervises the broker
and takes in what devices publish; everything it knows is in the database and the object store.
"""
