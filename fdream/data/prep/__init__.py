"""Data preparation: any pile of video becomes training shards.

The trip of a source: ``sources`` name it, ``clipping`` (in a worker that ``isolation`` watches)
probes, decodes, cuts, measures and writes its clips, ``verdicts`` decide what is kept,
``shard_builder`` packs shards, ``settling`` repeats the verdicts over the whole run. ``overlay``
and ``report`` look at finished shards. ``pipelines/prep.py`` joins them.
"""
