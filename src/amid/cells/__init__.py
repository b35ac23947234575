"""What a cell is: its values in canonical form, its stages, and the id that follows from them. No torch here."""
