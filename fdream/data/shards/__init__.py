"""Shards in video2dataset's layout: ``00000.tar``, ``00000.parquet``, ``00000_stats.json``.

``reader`` is how everything in the tree reads them, ours and other people's; ``writer`` makes them
byte by byte the same every time; ``folder`` replaces whole shards, so that a crash leaves an old
shard or a new one and never a mixture; ``overlay`` is what the clips of a folder share.
"""
