"""The local HTTP interface: status, cameras, pictures. Bound to the loopback address unless configured otherwise."""
