"""One module per DVC stage (`python -m flows.<stage>`), the pipeline flow of the UI, and its server."""
