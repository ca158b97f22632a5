"""The controllers that this manager runs, and the commands that run them."""
