"""Speed claims, each measured in one run beside the procedure that it is compared with.

The results lie beside the scripts, as Markdown and JSON files.
"""
