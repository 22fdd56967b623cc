"""A page in the browser: drop a video, look at what is found, correct it; open a run's folder. All on this computer."""
