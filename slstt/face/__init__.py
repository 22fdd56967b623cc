"""The face in a picture: its landmarks, its square, and one face followed and held still through a recording."""
