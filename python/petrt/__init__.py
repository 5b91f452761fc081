"""petrt: low-dose PET to standard-dose quality. Not for diagnostic use."""
