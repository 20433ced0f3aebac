"""Simulated chargers on WebSocket: what those of OCPP and ntxcp have in common."""
