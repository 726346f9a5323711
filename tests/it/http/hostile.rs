//! Callers of HTTP that misbehave cost the others nothing.
