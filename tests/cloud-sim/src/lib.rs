//! A simulated AWS: one pure model, an in-process face and a wire face.
