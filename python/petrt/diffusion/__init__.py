"""The vocabulary of the method: noise schedule, samplers, presets, guides, dose."""
