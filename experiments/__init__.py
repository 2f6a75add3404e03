"""Studies: each folder is a claim with its command, its numbers and its run time."""
