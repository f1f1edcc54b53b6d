"""From answers to scores: ratings, screening, MOS, Table II."""
