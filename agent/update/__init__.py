"""Updates that cannot break a device: the table of phases, the journal, the executor, windows, slots, the recorder.

`table`, `journal`, `ground`, `executor`, `windows`, `slots` and `tree` use the standard library and our own light modules only: the
executor is a process of its own within a few hundredths of a second, and it works where the rest of the agent is broken.
"""
