"""The opinion survey (paper Table II): stimuli and orders, the store of answers, scores and intervals."""
