"""Kinds of the group `apps`: the fields of them that we read."""
