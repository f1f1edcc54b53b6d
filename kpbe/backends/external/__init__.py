"""Backends that KPBE does not run itself: a folder of videos, an external program."""
