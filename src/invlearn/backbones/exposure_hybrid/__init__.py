"""The backbone `exposure-hybrid`: regressions on exposures, mixed with trained factors."""
