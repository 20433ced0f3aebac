"""Simulated YKC piles."""
