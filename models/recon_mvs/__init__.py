"""Contains recon-mvs, the depth of posed views."""
