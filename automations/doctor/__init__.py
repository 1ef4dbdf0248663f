"""`manage.py doctor`: the rules that no constraint can hold, each one query that must find nothing (DESIGN 6, INVARIANTS)."""
