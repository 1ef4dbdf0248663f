"""Benchmarks: ratios against a hand-written floor, taken in turn on the same PostgreSQL in one run (PERFORMANCE.md)."""
