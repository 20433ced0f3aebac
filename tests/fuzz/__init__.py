"""Fuzzing: ``python tests/fuzz/run.py --seconds 60``, and a short form in the suite."""
