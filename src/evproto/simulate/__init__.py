"""Simulated chargers: for trying out a server, for load, and for recording captures."""
