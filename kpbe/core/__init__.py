"""Shared basics: whole-file writes, fingerprints, resumable work, processes, devices."""
