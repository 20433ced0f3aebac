"""ntxcp, the North-Tec Ding.X Communication Protocol: OCPP-J frames, actions of its own."""
