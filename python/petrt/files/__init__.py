"""Files and folders that appear whole or not at all, and names that are safe to show."""
