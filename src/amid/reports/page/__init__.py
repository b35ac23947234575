"""One HTML file that holds a sweep's report and needs nothing else. No torch here."""
