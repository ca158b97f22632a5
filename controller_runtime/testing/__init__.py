"""What authors of operators test with: a clock, an API server, a control plane."""
