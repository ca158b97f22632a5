"""Helm releases that follow a ManagedRoost."""
