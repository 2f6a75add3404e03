"""Studies: each folder holds a claim with its command, its numbers and its run time."""
