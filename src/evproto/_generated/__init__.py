"""Generated code. `rm -rf` is safe: `python -m codegen` writes it anew."""
