"""The page's own components, one folder each: its template, its script and its factory."""
