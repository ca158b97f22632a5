"""What all groups share."""
