"""All that is written to workloads: by whom, how, and what is remembered of it."""
