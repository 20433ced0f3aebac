"""Transports and role endpoints on asyncio: sockets and clocks for the sans-I/O sessions."""
