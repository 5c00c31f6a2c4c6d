"""Training of models on labelled photos."""
