"""The update framework in the control plane: whose word counts for artifacts and for the state key.

`keys` holds the private keys, `roles` makes and signs metadata and knows no storage, `shelf` keeps it, `repository` puts them together.
"""
