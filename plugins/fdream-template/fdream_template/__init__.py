"""A plugin for fdream, made to be copied."""
