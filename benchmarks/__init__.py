"""How fast fdream is and how good: each module here is one command that writes JSON to stdout."""
