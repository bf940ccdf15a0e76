# SPDX-License-Identifier: GPL-2.0-only
"""`cache` and `gc`: what the cache holds, and what of it may go."""

from __future__ import annotations

import argparse

from kvet.cache import cache_root
from kvet.cli.options import Commands, add_command, days, gibibytes


def add_cache(commands: Commands) -> None:
    """cache"""
    parser = add_command(commands, "cache", "show what the cache holds and how large it is")
    parser.set_defaults(command=cache_command)


def add_gc(commands: Commands) -> None:
    """gc [--days D] [--max-size GIB] [--all]"""
    parser = add_command(
        commands,
        "gc",
        "remove builds that were not used for a while, and what killed runs left behind",
        "  harness.py gc --days 7                   what nobody used for a week\n"
        "  harness.py gc --days 30 --max-size 40    and the oldest of the rest, down to 40 GiB\n"
        "\n"
        "Sources and packages stay, they may be hard to get again. What a run that goes on may\n"
        "use stays, too, whatever its age.\n",
    )
    parser.add_argument("--days", type=days, default=30, metavar="D", help="unused for D days")
    parser.add_argument(
        "--max-size", type=gibibytes, metavar="GIB", help="size that the cache may keep"
    )
    parser.add_argument("--all", action="store_true", help="empty the cache")
    parser.set_defaults(command=gc_command)


def cache_command(options: argparse.Namespace) -> int:
    """Print each part of the cache with its size, and who uses it."""
    from kvet import garbage, lease

    root = cache_root()
    print(root)
    for name, size, text in garbage.sizes(root):
        print(f"  {size >> 20:7d} MiB  {name:<9} {text}")
    for one in lease.holders(root):
        print(f"  in use by process {one.pid}: {one.command}")
    return 0


def gc_command(options: argparse.Namespace) -> int:
    """Remove what may go and say how much that was."""
    from kvet import garbage

    root = cache_root()
    if options.all:
        freed = garbage.empty(root)
    else:
        freed = garbage.collect(root, days=options.days, most=options.max_size)
    print(f"{root}: {freed >> 20} MiB freed")
    return 0
