"""The engine: pure functions over plain data.

Rules of this package, kept by tests/test_architecture.py: it imports no Django, DRF or django-q2 and no other package of this
project; it never reads the clock, the database, the network or a random source. Time, ids and data come in as arguments.
"""
