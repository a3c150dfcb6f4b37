"""What a preparation reads: tables, folders, shards, one video; all become rows.

A row names one source: where its bytes lie, its caption, and clips to take from it if the input
names any. Nothing here opens a video.
"""
