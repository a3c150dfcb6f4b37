"""What every layer may rely on: errors, recipes, settings, the device, paths, seeds, reports.

Nothing here knows a model or a stage, and nothing here imports torch until a function needs it.
"""
