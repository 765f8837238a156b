"""The page on which a person goes through a run: what is doubtful first, points moved, each decision kept."""
