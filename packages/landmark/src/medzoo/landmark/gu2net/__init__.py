"""GU2Net: universal landmark detection by a local and a global network (MICCAI 2021)."""
