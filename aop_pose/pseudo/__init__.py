"""Labels that a network gives to frames without labels, each with how far to trust it."""
