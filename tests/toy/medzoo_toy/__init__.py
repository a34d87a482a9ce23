"""A plug-in of somebody else, as small as one can be: what the tests of core run."""
