"""The server application: what chargers say, stored, forwarded and shown; commands from a REST API."""
