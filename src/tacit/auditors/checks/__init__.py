"""Checks of an audit, one file each."""
