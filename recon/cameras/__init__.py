"""From matches to cameras and tracks. Nothing here knows a network: matches and first guesses are handed in."""
