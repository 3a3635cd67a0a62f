"""The query language of workflows: operations, conditions and expressions, compiled to closures once.

`literals.py` is the door: the types of fields that hold operations, a condition or a switch.
"""
