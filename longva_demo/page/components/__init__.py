"""The page's own components, one folder each: its template, its script and the function that makes it."""
