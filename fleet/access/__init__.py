"""Who may do what: rights, users, sessions, sign-in."""
