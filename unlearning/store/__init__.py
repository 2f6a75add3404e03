"""What the store holds, by data set; trim it, and purge what was made of someone's data."""
