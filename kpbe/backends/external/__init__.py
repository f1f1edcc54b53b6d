"""Backends that KPBE does not run itself: a folder of videos, a program of its own."""
