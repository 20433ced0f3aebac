"""The generator: from ``specs/`` to ``src/evproto/_generated/``.

Run it from a checkout as ``python -m codegen``. It imports nothing of evproto
but ``evproto.spec``, so that generated code that is broken or missing does
not keep it from running. ``evproto generate`` uses it for dialects.
"""
