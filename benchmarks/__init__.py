"""Speed claims, each measured beside the procedure it is compared with, in one run; the results lie beside
the scripts as .md files.
"""
