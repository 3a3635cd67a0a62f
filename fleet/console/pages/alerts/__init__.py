"""The pages of alerts: what is told of, what is behind it, when nobody is told, where it goes, and by which rules."""
