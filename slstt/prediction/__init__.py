"""A person's own video: track the face, remove the head's motion, spot micro-expressions, classify them, report."""

LIMITS = (
    "It finds small, quick movements of a face and names the class whose movements they resemble. It does not read "
    "feelings, intentions or the truth of what is said: it is no lie detector.",
    "It is for research. Do not use it for decisions about people, such as hiring, policing, border control, teaching "
    "or medicine.",
    "Speaking, chewing, blinking, looking around and changing light also cause quick movements. In such recordings "
    "many of the intervals are no expressions. Each gets a class all the same. The default weights tell how likely it "
    "is no expression, and the report greys it; they learned that from drawn motion and miss many.",
    "The probabilities compare the classes with one another. They are not the probability that a person felt "
    "something, and they were not calibrated on recordings like yours.",
    "Film the face from the front, evenly lit, large in the picture, at 100 frames per second or more. Below 50 the "
    "shortest movements are lost between the frames.",
)
DEFAULT_WEIGHTS = (
    "The weights that come with slstt were trained on drawn motion of facial action units alone; no person was filmed "
    "for them. They were not measured on whole recordings of real people, because no annotated ones were available. "
    "On real clips cut out by experts the weights called synthetic were measured (docs/real_data.md)."
)
