"""The loss functions of training."""
