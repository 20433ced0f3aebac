"""Parts of ``evproto simulate``: its options, the plans made of them, and the summary."""
