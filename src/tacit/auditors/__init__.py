"""What an audit looks at, and how it says what it found; one check a file in `checks`."""
