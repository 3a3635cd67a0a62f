"""Events of the whole fleet: which are meant (`filter`), reading them (`log`), following them (`live`), taking them away (`export`)."""
