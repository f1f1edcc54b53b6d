"""Answers to scores: ratings, screening, MOS, Table II."""
