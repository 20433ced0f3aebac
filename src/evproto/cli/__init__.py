"""The command line: ``evproto decode``, ``encode``, ``frames``, ``diff``, ``generate``, ``validate``.

Every module of :mod:`evproto.cli.commands` is a subcommand: it has
``SUMMARY`` (one line), ``DESCRIPTION``, ``EXAMPLES`` (command lines that the
tests run), ``add_arguments(parser)`` and ``run(options, console) -> int``.
Nothing heavy is imported before a subcommand runs.
"""

from __future__ import annotations

from evproto.cli.app import main

__all__ = ["main"]
