"""What ReloaderConfigs say of themselves: from what became of reloads to a status."""
