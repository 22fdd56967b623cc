"""The face in a picture: its landmarks, its square, and one face tracked and stabilized through a recording."""
