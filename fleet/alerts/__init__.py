"""Who is told of what is wrong: rules over faults and figures, silences, acknowledgement, delivery to where people look."""
