"""What the engines are compared with; nothing here imports evproto."""
