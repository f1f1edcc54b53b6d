"""Audio-driven talking-head methods ("backends") behind one protocol.

A new backend is a new module of this package.
"""
