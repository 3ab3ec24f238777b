//! One request's journey, from statement to answer.
