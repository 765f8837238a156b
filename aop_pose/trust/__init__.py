"""How far to trust a number: when to withhold it (gate) and how wide its interval is (calibration)."""
