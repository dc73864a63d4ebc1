"""The paper as data: its rows and figures, what they take to run, and the page that compares."""
