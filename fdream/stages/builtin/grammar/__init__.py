"""The grammar splitter's knowledge of English captions: set phrases, words, clauses, wording."""
