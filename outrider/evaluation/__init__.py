"""Measures a model on a person's own pictures, and two models against each other. Owns data sets, figures and the report."""
