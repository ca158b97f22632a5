"""The group `reloader.stakater.com`: which workloads reload, and for what."""
