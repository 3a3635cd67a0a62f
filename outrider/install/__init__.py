"""`outrider agent install | uninstall`: from facts to steps as data (`plan`), and the dull carrying out of them (`carry`)."""
