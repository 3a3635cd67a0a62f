"""A look at this device: each check is a function from what it is given to one `Finding`, and changes nothing."""
