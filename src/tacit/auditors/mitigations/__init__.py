"""Ways to make a decision treat groups alike, one file each."""
