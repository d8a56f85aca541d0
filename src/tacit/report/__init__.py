"""One evidence report a run: HTML for people, JSON for machines. Reads plain files; never needs torch."""
