"""Several servers that act as one, over NATS: see ``docs/cluster.md``.

Needs nats-py; nothing here is imported by a server that is alone.
"""
