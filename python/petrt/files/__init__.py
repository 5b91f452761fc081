"""Files and folders that appear complete or not at all, and names that are safe to show."""
