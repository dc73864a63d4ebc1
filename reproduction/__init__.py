"""The paper's Table 2 and Figures 3 to 6, measured again: evidence, run from a checkout."""
