"""Evaluation: metrics per frame, Table I with intervals and paired tests, Fig. 3."""
