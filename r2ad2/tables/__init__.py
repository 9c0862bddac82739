"""The one reader of table files, and their writer."""
