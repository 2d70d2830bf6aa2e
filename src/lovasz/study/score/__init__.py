"""From predictions and targets to numbers."""
