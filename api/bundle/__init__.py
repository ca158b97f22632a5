"""Kinds of the group `werf.io`."""
