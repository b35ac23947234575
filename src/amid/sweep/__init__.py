"""A declared set of cells: composed, checked, carried out. No torch here."""
