"""Kinds of the core group: the fields of them that we read."""
