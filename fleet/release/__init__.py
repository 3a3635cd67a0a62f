"""Releases of the agent: wheels for one Python and platform with `release.json` beside them, made here and checked on upload."""
