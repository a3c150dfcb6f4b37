"""Tables of captions, read and written row by row: plain lines, JSON Lines, CSV, Parquet."""
