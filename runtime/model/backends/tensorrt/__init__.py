"""TensorRT, from 10.3 to 11.x and TensorRT for RTX, from one source that uses only names all of them have.

`library` finds and describes it; `fingerprint` says when two graphs differ in their weights only; `build` makes an engine in a
process of its own; `store` keeps engines; `refit` puts new weights into one; `engine` runs one; `opening` ties them together.
"""
