"""How fast evproto is, against peers measured in the same run."""
