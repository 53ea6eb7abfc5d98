"""Times and errors of the losses and metrics, beside other ways to compute the same numbers."""
