"""Several methods trained on the same frames with the same budget, measured on the same others."""
