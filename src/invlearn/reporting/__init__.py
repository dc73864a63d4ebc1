"""One HTML file about runs: what they reached, how they got there, what it cost."""
